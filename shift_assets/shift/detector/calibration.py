"""p- and q-values of the alert statistic: how often the same users would reach it if nothing had changed.

The null is a permutation null: histories of users active today, each split into pairs of consecutive days and the pairs
put into random order. It keeps what makes days noisy (their clustering, their sizes, occasional gifts, promotion days,
how steady people are) and destroys what an alert is about: that the new days come last. A log simulated from fitted
profiles keeps only what the fit knows, and gave p-values that were too small: see benchmarks/RESULTS.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from shift_assets.arrays import Float64Array, offsets
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.evidence import trace_user_days

BLOCK_DAYS = 2
"""Scored days permuted as one block: shopping for somebody else often takes two days, in the null too."""
TAIL_SHARE = 0.02
"""Part of the null sample that fits the tail beyond it, exponential in log M: an e-value has at most a power tail."""
MINIMUM_COUNT = 5
"""Samples at least as large as a statistic from which they are counted instead."""
PERMUTED_HISTORIES = 500
"""Permuted histories behind the p-values of a segment and day."""
NEWEST_DAYS = 4
"""Last days of each permuted history that enter the sample."""
FAMILY_DAYS = 28
"""Calendar days whose tests are one family."""


@dataclass(frozen=True, slots=True)
class NullSample:
    """A statistic where nothing changed, by which p-values are read off."""

    statistic: Float64[Float64Array, " sample"]  # ascending; in nats, so that its tail is about exponential
    onset_share: float = 1.0
    """Of the days in the upper `TAIL_SHARE`, the part whose day before was not: a false alert opens once and lasts."""

    def p_values(self, statistic: Float64Array) -> Float64Array:
        """P(at least `statistic` | nothing changed); nan where it is nan, or without a sample."""
        n = len(self.statistic)
        if n == 0:
            return np.full(np.shape(statistic), np.nan)
        above = n - np.searchsorted(self.statistic, statistic, side="left")
        p = (above + 1.0) / (n + 1.0)
        n_tail = max(int(np.ceil(TAIL_SHARE * n)), 2)
        threshold = self.statistic[-min(n_tail, n)]
        mean_excess = max(float((self.statistic[-n_tail:] - threshold).mean()), 1e-3)
        beyond = (n_tail + 1.0) / (n + 1.0) * np.exp(-np.maximum(statistic - threshold, 0.0) / mean_excess)
        p = np.where(above < MINIMUM_COUNT, np.minimum(beyond, p), p)
        return np.where(np.isnan(statistic), np.nan, p)


def permutation_null(
    user_days: UserDays,
    n_categories: int,
    evidence: EvidenceSettings,
    seed: list[int],
    *,
    n_histories: int = PERMUTED_HISTORIES,
) -> NullSample:
    """Return the permutation null of users active today.

    `n_histories` of them are drawn with replacement; the sample is log M of the last `NEWEST_DAYS` positions of each
    permuted history.

    Args:
        user_days: users of one segment with a score today, their last entry.
        n_categories: number of categories.
        evidence: windows and priors of the statistic.
        seed: numbers that make this null's random order its own.
        n_histories: size of the sample.
    """
    if user_days.n_users == 0:
        return NullSample(np.zeros(0))
    random = np.random.default_rng(seed)
    chosen = random.integers(0, user_days.n_users, n_histories)
    n_days = user_days.n_days[chosen]
    start = offsets(n_days)
    user = np.repeat(np.arange(len(chosen)), n_days)
    position = np.arange(len(user)) - start[user]
    # Blocks begin at the first or second day of a history; sorting by a number per block shuffles whole blocks.
    block = (position + random.integers(0, BLOCK_DAYS, len(chosen))[user]) // BLOCK_DAYS
    order_of_block = random.random((len(chosen), int(n_days.max()) // BLOCK_DAYS + 2))
    order = np.lexsort((position, order_of_block[user, block], user))
    permuted = user_days.take_entries(user_days.start[chosen][user] + position[order], start)
    last = start[user + 1] - 1 - np.arange(len(user))
    on_common_days = UserDays(start, -last, permuted.score_start, permuted.category, permuted.score, permuted.counts)
    log_e = trace_user_days(on_common_days, n_categories, evidence).log_e
    keep = (last < NEWEST_DAYS) & ~np.isnan(log_e)
    if not keep.any():
        return NullSample(np.zeros(0))
    threshold = np.quantile(log_e[keep], 1.0 - TAIL_SHARE)
    above = keep & (log_e >= threshold)
    begins = above & ((position == 0) | ~(np.roll(log_e, 1) >= threshold))
    return NullSample(np.sort(log_e[keep]), float(begins.sum() / above.sum()))


def q_values(
    p: Float64[Float64Array, " user"], tests_before: int = 0, discoveries_before: int = 0, onset_share: float = 1.0
) -> Float64[Float64Array, " user"]:
    """Return false-discovery-adjusted p-values; nan where `p` is nan, which is not in the family.

    The false discovery rate is bounded over the last weeks, not per day: with few users a day without a single shift
    is common, and everything found on it is false. So the family is today's tests together with those of the days
    before; without these it is the adjustment of Benjamini and Hochberg, "Controlling the false discovery rate", JRSS
    B 57 (1995).

    Args:
        p: p-values of today's tests.
        tests_before: number of tests on the days before.
        discoveries_before: number of discoveries among them.
        onset_share: part of the null's large statistics that begin a run of them.

    >>> q_values(np.array([0.01, np.nan, 0.5])).tolist()
    [0.02, nan, 0.5]
    """
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    rank = np.arange(1, len(order) + 1)
    adjusted = p[order] * onset_share * (tests_before + len(order)) / (discoveries_before + rank)
    out[order] = np.minimum(np.minimum.accumulate(adjusted[::-1])[::-1], 1.0)
    return out
