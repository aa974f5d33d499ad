"""Churn: the probability that a user does not come back, and the warnings that follow from it."""
