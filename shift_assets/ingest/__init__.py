"""From source files to clean events: read, validate, clean, categorise."""
