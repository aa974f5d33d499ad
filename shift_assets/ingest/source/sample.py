"""The real log that ships with the package: UCI Online Retail II (CC BY 4.0, Daqing Chen, doi 10.24432/C5CG6D)."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def sample_log() -> Path:
    """Return the Parquet file of the shipped source `online_retail_ii`: invoice lines of two years, sorted by time."""
    return Path(str(resources.files("shift_assets") / "data" / "online_retail_ii.parquet"))
