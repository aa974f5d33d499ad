"""Interest series per user, day and category, and the features made from them."""
