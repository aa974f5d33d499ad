"""De-duplication, lateness, bots and accounting over parsed rows, and the engines that run it."""
