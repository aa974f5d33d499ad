"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple


class Partition(NamedTuple):
    """One day of one user segment: the unit in which every table is replaced."""

    day: date
    segment: str
