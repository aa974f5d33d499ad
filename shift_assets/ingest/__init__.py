"""From delivered files to clean events: read, validate, clean, categorise."""
