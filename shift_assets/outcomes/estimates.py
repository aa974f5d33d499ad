"""Metrics of recommendation lists, per user, and bootstrap intervals over users."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import Float64Array
from shift_assets.models.metrics import ndcg_at_k, recall_at_k

__all__ = [
    "Estimate",
    "interval",
    "ndcg_at_k",
    "ratio_estimate",
    "recall_at_k",
    "resamples",
]

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def resamples(users: int, samples: int, seed: int) -> npt.NDArray[np.int64]:
    """How often each user is drawn, [sample, user], in `samples` bootstrap draws of `users` users."""
    if users == 0:
        return np.zeros((samples, 0), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), size=samples)


def ratio_estimate(
    numerators: Float64Array, denominators: Float64Array, draws: npt.NDArray[np.int64]
) -> Estimate | None:
    """sum(numerators[user]) / sum(denominators[user]) and its bootstrap interval; None where that is 0 / 0."""
    total = float(denominators.sum())
    if total == 0:
        return None
    drawn = draws @ denominators
    return interval(float(numerators.sum()) / total, (draws @ numerators)[drawn > 0] / drawn[drawn > 0])


def interval(value: float, replicates: Float64Array) -> Estimate:
    """Percentile interval of the bootstrap around `value` (Efron 1979)."""
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
