"""Public change detectors behind the interface of ours, for `benchmarks/shifts.py` alone.

Install: `pip install river ruptures`, which are no dependencies of the package (measured: 0.26.1 and 1.1.10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.interest.histories import Histories
from shift_assets.shift.baselines.sliding_windows import MINIMUM


@dataclass
class RiverPerCategory:
    """One river detector per user and category, fed with the category's share on every active day of the user.

    1 on a day on which any of them reports a drift, else 0.
    """

    name: str
    make: Callable[[], Any]

    def score(self, histories: Histories) -> Float64Array:
        user_days = histories.user_days
        daily = histories.user_days.dense_share(len(histories.codes))
        out = np.full(len(user_days.day), np.nan)
        for user in range(user_days.n_users):
            first, last = user_days.start[user], user_days.start[user + 1]
            mine = daily[first:last]
            drift = np.zeros(len(mine), dtype=bool)
            for category in np.flatnonzero(mine.any(axis=0)):  # a category never met stays at 0: no drift
                detector = self.make()
                update = detector.update
                for day, share in enumerate(mine[:, category].tolist()):
                    update(share)
                    if detector.drift_detected:
                        drift[day] = True
            out[first:last] = drift
        return out


@dataclass
class NightlyKernelCPD:
    """ruptures' KernelCPD with the linear kernel, run after every active day on the last `days` active days.

    1 on a day on which the `penalty` leaves a change point, else 0.
    """

    name: str
    penalty: float
    days: int = 40

    def score(self, histories: Histories) -> Float64Array:
        from ruptures.detection import KernelCPD

        user_days = histories.user_days
        daily = histories.user_days.dense_share(len(histories.codes))
        out = np.full(len(user_days.day), np.nan)
        search = KernelCPD("linear", min_size=2, jump=1)
        for user in range(user_days.n_users):
            first = int(user_days.start[user])
            for entry in range(first + MINIMUM - 1, int(user_days.start[user + 1])):
                window = daily[max(first, entry + 1 - self.days) : entry + 1]
                out[entry] = len(search.fit(window).predict(pen=self.penalty)) > 1
        return out


def adwin(delta: float | None = None) -> RiverPerCategory:
    """ADWIN at its defaults, or looking at every day with this `delta`."""
    from river.drift import ADWIN

    if delta is None:
        return RiverPerCategory("default", ADWIN)
    return RiverPerCategory(f"delta={delta}", lambda: ADWIN(delta=delta, clock=1, grace_period=5, min_window_length=3))


def page_hinkley(threshold: float | None = None, delta: float = 0.005) -> RiverPerCategory:
    """Page-Hinkley at its defaults, or with a threshold for shares."""
    from river.drift import PageHinkley

    if threshold is None:
        return RiverPerCategory("default", PageHinkley)
    return RiverPerCategory(
        f"threshold={threshold},delta={delta}",
        lambda: PageHinkley(min_instances=10, delta=delta, threshold=threshold, alpha=1.0),
    )
