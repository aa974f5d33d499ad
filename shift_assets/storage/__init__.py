"""Everything on disk: the lake, its fence, the warehouse, BI files, Dagster's event log."""
