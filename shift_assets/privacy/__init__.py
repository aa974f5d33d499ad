"""Pseudonyms, and the erasure of users."""
