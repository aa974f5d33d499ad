"""Where cleaning runs: embedded DuckDB, or Spark Connect. Both give the same rows."""
