"""The unit in which every table is replaced: one day of one user segment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

SEGMENT_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""Names of segments: they are folder names, partition keys and parts of model paths."""


class Partition(NamedTuple):
    """One day of one user segment."""

    day: date
    segment: str


def days_of(partitions: Iterable[Partition]) -> list[date]:
    """The distinct days, in order."""
    return sorted({partition.day for partition in partitions})


def segments_of(partitions: Iterable[Partition]) -> list[str]:
    """The distinct segments, in order."""
    return sorted({partition.segment for partition in partitions})


def days_between(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included.

    >>> [day.day for day in days_between(date(2026, 1, 31), date(2026, 2, 2))]
    [31, 1, 2]
    """
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
