"""Read source files into batches of raw rows; one module per format."""
