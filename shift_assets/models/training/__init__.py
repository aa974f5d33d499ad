"""Losses, training loops, checkpoints and search."""
