"""Whether, when and from what to what a user's interest shifted."""
