"""Forecasts, a week ahead, of each category's share of a user's interest; one file per forecaster."""
