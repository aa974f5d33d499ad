"""How recommendations adapt to a shift of interest."""
