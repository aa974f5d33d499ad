"""Detectors of interest shifts: one file per family, one interface, so that all are judged alike.

The product's own alarms come from `shift.evidence`; the others are kept because a claim to be better needs them.
"""

from __future__ import annotations

from typing import Protocol

from shift_assets.arrays import Float64Array
from shift_assets.interest.histories import Histories


class Detector(Protocol):
    """Scores every active day of every user by what was known at its end."""

    @property
    def name(self) -> str:
        """What it is called in settings and reports."""
        ...

    def score(self, histories: Histories) -> Float64Array:
        """Suspicion of a recent shift, [entry], larger is more suspicious; nan where the detector is silent.

        `histories` holds all users of a segment, or a sample: a detector may learn the day's platform-wide move
        from them, but must not look at any entry of a later day.
        """
        ...
