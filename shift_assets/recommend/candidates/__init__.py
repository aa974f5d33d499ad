"""Candidate generators; one file each, listed in `registry`."""
