"""The engines of cleaning: embedded DuckDB, or Spark Connect. Both give the same rows."""
