"""Sequences, labels and splits that the interest model is trained on."""
