"""Storage: the lake and its fence, the warehouse, BI files, Dagster's event log."""
