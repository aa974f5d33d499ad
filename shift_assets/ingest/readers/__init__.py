"""Delivered files to batches of raw rows; one file per format."""
