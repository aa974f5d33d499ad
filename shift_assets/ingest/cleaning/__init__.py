"""De-duplication, lateness, bots and row accounting over parsed rows, and the engines that run them."""
