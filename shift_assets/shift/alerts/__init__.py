"""Alerts on users' interest shifts: when they open and close, their kind, and their explanation."""
