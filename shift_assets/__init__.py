"""Interest-shift detection and proactive recommendations as Dagster software-defined assets."""

__version__ = "0.2.0"
