"""Fit interest categories for a log that has none: from item texts, or from co-occurrence."""
