"""Best split of the last active days into two means: the statistic of least-squares change-point searches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from shift_assets.arrays import Float64Array
from shift_assets.interest.histories import Histories
from shift_assets.shift.baselines.sliding_windows import MINIMUM

_MINIMUM_SIDE = 2


@dataclass
class SplitGain:
    """Largest fall of the squared error of daily shares when the last `days` active days are split in two.

    The fall at a split of n days into a and b is a b / n |mean_a - mean_b|^2, the cost that PELT ("l2") and
    KernelCPD ("linear") of `ruptures` minimise. Splits leave at least two days on either side.

    Source: Truong, Oudre and Vayatis, "Selective review of offline change point detection methods", Signal
    Processing 167 (2020).
    """

    days: int = 40
    minimum_active_days: int = MINIMUM
    name: str = "split_gain"

    def score(self, histories: Histories) -> Float64Array:
        """Return the largest gain, [entry]; nan with fewer than `minimum_active_days` active days."""
        user_days = histories.user_days
        out = np.full(len(user_days.day), np.nan)
        _split_gains(
            user_days.start,
            user_days.score_start,
            user_days.category,
            user_days.share,
            len(histories.codes),
            self.days,
            max(self.minimum_active_days, 2 * _MINIMUM_SIDE),
            out,
        )
        return out


@njit(cache=True)
def _split_gains(start, score_start, category, share, n_categories, days, minimum, out):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    total = np.zeros(n_categories)
    late = np.zeros(n_categories)
    for user in range(len(start) - 1):
        for newest in range(start[user] + minimum - 1, start[user + 1]):
            oldest = max(start[user], newest + 1 - days)
            n = newest + 1 - oldest
            total[:] = 0.0
            for cell in range(score_start[oldest], score_start[newest + 1]):
                total[category[cell]] += share[cell]
            total_square = (total * total).sum()
            # Days move one by one, newest first, to the late side, and the products that the means need with them.
            late[:] = 0.0
            late_square = late_total = best = 0.0
            for first in range(newest, oldest + _MINIMUM_SIDE - 1, -1):
                for cell in range(score_start[first], score_start[first + 1]):
                    kind, mass = category[cell], share[cell]
                    late_square += mass * (2.0 * late[kind] + mass)
                    late_total += mass * total[kind]
                    late[kind] += mass
                b = newest + 1 - first
                a = n - b
                if b >= _MINIMUM_SIDE:
                    # a b / n |(total - late) / a - late / b|^2
                    cross = 2.0 * late_total * n / (a * a * b)
                    distance = total_square / (a * a) - cross + late_square * (n / (a * b)) ** 2
                    best = max(best, a * b / n * distance)
            out[newest] = best
