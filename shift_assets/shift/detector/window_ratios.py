"""Log-likelihood ratios of a user's newest days: the segment's mix against the user's own profile before them.

For every length w the ratio says how much more the last w scored days look like those of anybody in the segment than
like those of this user. It is the statistic of a known change point, computed for every recent one (window-limited
generalised likelihood ratio: Lai, "Information Bounds and Quick Detection of Parameter Changes", IEEE Transactions on
Information Theory 44 (1998)). The user's own profile is smoothed with the mix of similar users, so that a short past
says as much as it can. All mixes are without the platform's part, as in `shift.detector.recursion`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.shift.detector.recursion import Memory

MAXIMUM_WINDOW = 8
"""Longest window, in scored days."""
MINIMUM_DAYS_BEFORE = 2.5
"""Decayed days that must remain before a window: three visits."""
LOG_DAY_CAP = 1.5
"""Most that one day may add, in nats: a gift is no shift."""
OWN_PRIOR_DAYS = 6.0
"""Weight of similar users' mix in the user's own profile, in days."""


@runtime_checkable
class Prior(Protocol):
    """What is expected of users, of whom some days are known or none."""

    @property
    def mix(self) -> Float64[Float64Array, " category"]:
        """Expected mix of a user of whom nothing is known, nowhere 0."""
        ...

    def expected(self, days: Float64[Float64Array, "user category"]) -> Float64[Float64Array, "user category"]:
        """Return the expected mix of each user, nowhere 0."""
        ...


class WindowRatios(NamedTuple):
    """The ratios at the end of a day."""

    log_ratio: Float64Array  # [user, window], nats, of the last 1, 2, … scored days; nan where too few lie before
    days_before: Float64Array  # [user], decayed days before the longest window

    @classmethod
    def empty(cls, n: int) -> WindowRatios:
        """Return the ratios of entries that no day has reached."""
        return cls(np.full((n, MAXIMUM_WINDOW), np.nan), np.full(n, np.nan))


class WindowObserver(NamedTuple):
    """Asks a trace for the ratios of chosen entries."""

    prior: Prior
    wanted: BoolArray  # [entry]
    found: WindowRatios  # [entry], filled by the trace


def window_ratios(memory: Memory, users: Int64[Int64Array, " active"], prior: Prior, *, decay: float) -> WindowRatios:
    """Return the ratios of users whose newest scored day is the last one in `memory`.

    Args:
        memory: The memory after the day.
        users: Users of `memory`.
        prior: What is expected of users.
        decay: Weight of a day after one more scored day.
    """
    before = np.empty((len(users), len(prior.mix)))
    length = np.zeros(len(users), dtype=np.int64)
    _profiles_before(memory, users, decay, before, length)
    log_ratio = np.full((len(users), MAXIMUM_WINDOW), np.nan)
    _log_ratios(memory, users, decay, prior.expected(before), np.log(prior.mix), length, log_ratio)
    return WindowRatios(log_ratio, before.sum(axis=1))


@njit(cache=True)
def _profiles_before(memory, users, decay, before, length):  # type: ignore[no-untyped-def]
    """Write each user's profile without the longest possible window, and that window's length."""
    share_start, category, share, ring = memory.share_start, memory.category, memory.share, memory.ring
    starts = ring.shape[1]
    for x in range(len(users)):
        user, remaining, weight = users[x], 0.0, 1.0
        for k in range(before.shape[1]):
            before[x, k] = memory.profile[user, k]
            remaining += before[x, k]
        n = memory.days[user]
        for back in range(min(n, starts, MAXIMUM_WINDOW)):
            entry = ring[user, (n - 1 - back) % starts]
            first, last = share_start[entry], share_start[entry + 1]
            if first == last or remaining - weight < MINIMUM_DAYS_BEFORE:
                break
            for i in range(first, last):
                k = category[i]
                before[x, k] = max(before[x, k] - weight * share[i], 0.0)
            remaining -= weight
            weight *= decay
            length[x] = back + 1


@njit(cache=True)
def _log_ratios(memory, users, decay, prior, log_mix, length, log_ratio):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Write the ratio of every window up to `length`."""
    share_start, category, share, ring = memory.share_start, memory.category, memory.share, memory.ring
    starts, n_categories = ring.shape[1], len(log_mix)
    before = np.empty(n_categories)
    for x in range(len(users)):
        user, remaining, weight = users[x], 0.0, 1.0
        for k in range(n_categories):
            before[k] = memory.profile[user, k]
            remaining += before[k]
        n = memory.days[user]
        for window in range(1, length[x] + 1):
            entry = ring[user, (n - window) % starts]
            for i in range(share_start[entry], share_start[entry + 1]):
                before[category[i]] = max(before[category[i]] - weight * share[i], 0.0)
            remaining -= weight
            weight *= decay
            total = 0.0
            for back in range(1, window + 1):
                entry = ring[user, (n - back) % starts]
                of_day = 0.0
                for i in range(share_start[entry], share_start[entry + 1]):
                    k = category[i]
                    own = (before[k] + OWN_PRIOR_DAYS * prior[x, k]) / (remaining + OWN_PRIOR_DAYS)
                    of_day += share[i] * (log_mix[k] - np.log(own))
                total += min(of_day, LOG_DAY_CAP)
            log_ratio[x, window - 1] = total
