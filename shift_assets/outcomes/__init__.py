"""Nightly tables of what the days after said about alerts, forecasts and recommendations."""
