"""Features of candidates, the learned blend of the generators' scores, re-ranking."""
