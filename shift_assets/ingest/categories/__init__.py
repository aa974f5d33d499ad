"""Interest categories for a log that has none: from item text, or from co-occurrence."""
