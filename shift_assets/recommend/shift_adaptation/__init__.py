"""How recommendations follow a shift of interest."""
