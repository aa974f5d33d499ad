"""Ratio estimates with bootstrap intervals over users."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def resamples(users: int, samples: int, seed: int) -> Int64[Int64Array, "sample user"]:
    """Count, [sample, user], how often each of `users` users is drawn in `samples` bootstrap samples."""
    if users == 0:
        return np.zeros((samples, 0), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), size=samples)


def ratio_estimate(
    numerators: Float64[Float64Array, " user"],
    denominators: Float64[Float64Array, " user"],
    draws: Int64[Int64Array, "sample user"],
) -> Estimate | None:
    """Estimate sum(numerators) / sum(denominators) with a bootstrap interval; None where the denominator is 0.

    Args:
        numerators: Numerator [user].
        denominators: Denominator [user].
        draws: How often [sample, user] a user is drawn, from `resamples`.
    """
    total = float(denominators.sum())
    if total == 0:
        return None
    drawn = draws @ denominators
    return interval(float(numerators.sum()) / total, (draws @ numerators)[drawn > 0] / drawn[drawn > 0])


def interval(value: float, replicates: Float64Array) -> Estimate:
    """The value with the percentile interval of its bootstrap `replicates` [sample] (Efron 1979)."""
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
