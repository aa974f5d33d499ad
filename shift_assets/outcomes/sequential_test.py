"""Differences between policies: fixed-horizon and sequential intervals, and tests of sample ratio mismatch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import chi2, norm

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.outcomes.estimates import CONFIDENCE


class Difference(NamedTuple):
    """Rate of a policy minus that of the baseline, over all users so far."""

    value: float
    standard_error: float


class SequentialInterval(NamedTuple):
    """Bounds of a confidence sequence, and an anytime-valid p-value."""

    low: float
    high: float
    p_value: float


def difference(
    rewards: tuple[Float64Array, Float64Array], exposures: tuple[Float64Array, Float64Array]
) -> Difference | None:
    """Difference of two ratios sum(rewards) / sum(exposures), with its standard error by linearisation.

    Args:
        rewards: Reward [user] of either policy, summed over the user's days.
        exposures: Exposure [user] of either policy, summed likewise.

    Returns:
        The difference; None where a policy has no exposure.
    """
    values, variance = [], 0.0
    for reward, exposure in zip(rewards, exposures, strict=True):
        total = float(exposure.sum())
        if total <= 0:
            return None
        rate = float(reward.sum()) / total
        values.append(rate)
        variance += float(((reward - rate * exposure) ** 2).sum()) / total**2 * len(reward) / max(len(reward) - 1, 1)
    return Difference(values[0] - values[1], float(np.sqrt(variance)))


def fixed_horizon_interval(found: Difference) -> tuple[float, float]:
    """95 % normal interval, valid on one day that was fixed in advance."""
    width = float(norm.ppf((1 + CONFIDENCE) / 2)) * found.standard_error
    return found.value - width, found.value + width


def log_likelihood_ratio(found: Difference, effect_scale: float) -> float:
    """Log-likelihood ratio of a mixture of differences over no difference, in nats: the logarithm of an e-value.

    The mixture is N(0, `effect_scale`²) over the difference. Without observed variance the ratio is 0.
    """
    variance = found.standard_error**2
    if variance == 0:
        return 0.0
    both = variance + effect_scale**2
    return float(0.5 * np.log(variance / both) + found.value**2 * effect_scale**2 / (2 * variance * both))


def sequential_width(standard_error: float, effect_scale: float, alpha: float = 1 - CONFIDENCE) -> float:
    """Half width of the confidence sequence, in which `log_likelihood_ratio` stays below log(1 / alpha).

    Robbins (1970); Howard et al. 2021, arXiv 1810.08240, equation 14. Infinite without observed variance.
    """
    if standard_error == 0:
        return float("inf")
    information = (effect_scale / standard_error) ** 2
    return float(standard_error * np.sqrt((1 + 1 / information) * (np.log1p(information) - 2 * np.log(alpha))))


def sequential(daily_differences: list[Difference], effect_scale: float) -> SequentialInterval:
    """Sequential interval after the last of the daily differences, and the smallest p-value of all days.

    Raises:
        ValueError: There is no day.
    """
    if not daily_differences:
        raise ValueError("a sequential test needs at least one day")
    last = daily_differences[-1]
    width = sequential_width(last.standard_error, effect_scale)
    p_value = min(
        1.0,
        *(float(np.exp(-log_likelihood_ratio(day_difference, effect_scale))) for day_difference in daily_differences),
    )
    return SequentialInterval(last.value - width, last.value + width, p_value)


def sample_ratio_p_value(users: Mapping[str, int], shares: Mapping[str, float]) -> float | None:
    """Chi-square p-value of a sample ratio mismatch: that the numbers of users by policy follow the shares.

    `shares` name all policies that were assigned, and are divided by their sum; users of any other policy give 0.
    None with fewer than two policies.
    """
    if set(users) - set(shares):
        return 0.0
    total = sum(users.values())
    if len(shares) < 2 or total == 0:
        return None
    expected = np.array([shares[name] for name in shares]) / sum(shares.values()) * total
    observed = np.array([users.get(name, 0) for name in shares])
    return float(chi2.sf(((observed - expected) ** 2 / expected).sum(), len(shares) - 1))


def adaptive_ratio_p_value(
    policy: Int64[Int64Array, " user"], propensity: Float64[Float64Array, " user"]
) -> float | None:
    """p-value of a sample ratio mismatch where each user was assigned to a policy with an individual probability.

    If the assignment follows the propensities, the users of a policy, each weighted by 1 / `propensity[user]`, sum up
    to all users. The p-value is that of the policy with the largest deviation, times the number of policies
    (Bonferroni). None with one policy only.
    """
    names = np.unique(policy)
    if len(names) < 2:
        return None
    smallest = 1.0
    for name in names:
        weight = 1 / propensity[policy == name]
        spread = float(np.sqrt((weight * (weight - 1)).sum()))
        if spread > 0:
            smallest = min(smallest, float(2 * norm.sf(abs(weight.sum() - len(policy)) / spread)))
    return min(1.0, len(names) * smallest)
