"""Logs with planted, labelled shifts of interest, and with events that must not raise an alert."""
