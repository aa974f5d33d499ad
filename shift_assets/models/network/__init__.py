"""The torch modules of the interest model."""
