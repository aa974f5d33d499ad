"""Stored models: weights, card, digest, and which one is served."""
