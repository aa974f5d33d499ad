"""Scores and predictions of a trained interest model."""
