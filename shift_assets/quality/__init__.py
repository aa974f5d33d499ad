"""Data quality: the expectations of each table, their validation per partition, and the gate before its readers."""
