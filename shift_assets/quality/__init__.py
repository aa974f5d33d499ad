"""Data quality: what each table promises, whether a partition keeps it, and the gate before its readers."""
