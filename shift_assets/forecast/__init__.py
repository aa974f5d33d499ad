"""Forecasts of each category's share of a user's interest a week ahead; one file per forecaster."""
