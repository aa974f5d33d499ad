"""The classic indicators as detectors: distance of the recent window of active days to the reference window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.interest.histories import Histories
from shift_assets.shift.baselines.sliding_windows import MINIMUM, RECENT, REFERENCE, windows
from shift_assets.shift.detector.indicators import distribution_distance, interest_gap


@dataclass
class JensenShannonDistance:
    """Jensen-Shannon distance, 0..1, of the recent to the reference window's scores."""

    recent_active_days: int = RECENT
    reference_active_days: int = REFERENCE
    minimum_active_days: int = MINIMUM
    smoothing: float = 0.5
    name: str = "js_distance"

    def score(self, histories: Histories) -> Float64Array:
        """Return the distance, [entry]; nan with fewer than `minimum_active_days` active days."""
        user_days = histories.user_days
        out = np.full(len(user_days.day), np.nan)
        for entries, reference, recent in windows(user_days, user_days.score, len(histories.codes), self):
            row, category = np.nonzero((reference > 0) | (recent > 0))
            out[entries] = distribution_distance(
                recent[row, category], reference[row, category], row, len(entries), self.smoothing
            )
        return out


@dataclass
class ShareGap:
    """Largest change of a category's share, 0..1, between the recent and the reference window's scores."""

    recent_active_days: int = RECENT
    reference_active_days: int = REFERENCE
    minimum_active_days: int = MINIMUM
    name: str = "share_gap"

    def score(self, histories: Histories) -> Float64Array:
        """Return the distance, [entry]; nan with fewer than `minimum_active_days` active days."""
        user_days = histories.user_days
        out = np.full(len(user_days.day), np.nan)
        for entries, reference, recent in windows(user_days, user_days.score, len(histories.codes), self):
            row, category = np.nonzero((reference > 0) | (recent > 0))
            with np.errstate(invalid="ignore"):  # a window without any score has no shares
                share_recent, share_reference = (
                    side[row, category] / side.sum(axis=1)[row] for side in (recent, reference)
                )
            out[entries], _ = interest_gap(share_recent, share_reference, row, len(entries))
        return out
