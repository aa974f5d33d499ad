"""Metrics of recommendation lists, per user or per item shown, and their bootstrap intervals over users.

Arrays run [user, place], place 0 is rank 1; `shown` marks the places that hold an item.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shift_assets.models.ranking import ndcg_at_k, recall_at_k

__all__ = [
    "Estimate",
    "doubly_robust",
    "importance_weighted",
    "ndcg_at_k",
    "ratio_estimate",
    "recall_at_k",
    "resamples",
]

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def importance_weighted(rewards: Floats, propensities: Floats) -> Floats:
    """Reward [user] summed over the user's places, each over its propensity (Horvitz & Thompson 1952).

    Over the number of items shown it is IPS; over the sum of the weights 1 / propensity it is SNIPS
    (Swaminathan & Joachims 2015). Places without an item carry reward 0 and propensity 1.

    Raises ValueError for a propensity that is not in (0, 1].
    """
    if not ((propensities > 0) & (propensities <= 1)).all():
        raise ValueError("a propensity is not in (0, 1]: what was shown had a positive probability of being shown")
    return np.asarray((rewards / propensities).sum(axis=1))


def doubly_robust(rewards: Floats, propensities: Floats, expected: Floats) -> Floats:
    """Doubly robust reward [user] summed over places (Dudík, Langford & Li 2011, arXiv 1103.4601).

    `expected[user, place]` is the reward that a model fitted before the lists were made foretells.
    """
    return np.asarray(expected.sum(axis=1)) + importance_weighted(rewards - expected, propensities)


def resamples(users: int, samples: int, seed: int) -> npt.NDArray[np.int64]:
    """How often each user is drawn, [sample, user], in `samples` bootstrap draws of `users` users."""
    if users == 0:
        return np.zeros((samples, 0), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), size=samples)


def ratio_estimate(numerators: Floats, denominators: Floats, draws: npt.NDArray[np.int64]) -> Estimate | None:
    """sum(numerators[user]) / sum(denominators[user]) and its bootstrap interval; None where that is 0 / 0."""
    total = float(denominators.sum())
    if total == 0:
        return None
    drawn = draws @ denominators
    return interval(float(numerators.sum()) / total, (draws @ numerators)[drawn > 0] / drawn[drawn > 0])


def interval(value: float, replicates: Floats) -> Estimate:
    """Percentile interval of the bootstrap around `value` (Efron 1979)."""
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
