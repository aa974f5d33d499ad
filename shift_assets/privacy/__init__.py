"""Pseudonyms, and the erasure of one user."""
