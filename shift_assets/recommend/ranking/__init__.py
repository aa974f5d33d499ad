"""Features of candidates, the learned blend, re-ranking."""
