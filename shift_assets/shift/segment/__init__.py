"""Shifts of whole segments: change points, events, clusters and transitions of alerts."""
