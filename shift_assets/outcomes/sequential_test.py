"""Differences between policies: fixed-horizon and sequential intervals, sample ratio mismatch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm

from shift_assets.arrays import Float64Array
from shift_assets.outcomes.estimates import CONFIDENCE


class Difference(NamedTuple):
    """Rate of a policy less that of another, after all users seen so far."""

    value: float
    standard_error: float


class SequentialInterval(NamedTuple):
    """The ends of a confidence sequence, and the p-value that may be looked at on any day."""

    low: float
    high: float
    p_value: float


def difference(
    rewards: tuple[Float64Array, Float64Array], exposures: tuple[Float64Array, Float64Array]
) -> Difference | None:
    """Difference of two ratios sum(rewards) / sum(exposures), each over its users [user]; None where one is 0 / 0.

    A user's rewards and exposures are sums over the user's days.
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
    """Normal interval on a day that was fixed beforehand."""
    width = float(norm.ppf((1 + CONFIDENCE) / 2)) * found.standard_error
    return found.value - width, found.value + width


def log_likelihood_ratio(found: Difference, effect_scale: float) -> float:
    """Log of the mixture's likelihood over that of no difference: an e-value's logarithm, in nats.

    The mixture expects differences of N(0, `effect_scale`²). Without any variance seen it says nothing: 0.
    """
    variance = found.standard_error**2
    if variance == 0:
        return 0.0
    both = variance + effect_scale**2
    return float(0.5 * np.log(variance / both) + found.value**2 * effect_scale**2 / (2 * variance * both))


def sequential_width(standard_error: float, effect_scale: float, alpha: float = 1 - CONFIDENCE) -> float:
    """Half width of the confidence sequence: the differences that `log_likelihood_ratio` holds below log(1 / alpha).

    Without any variance seen nothing is excluded: infinity.
    """
    if standard_error == 0:
        return float("inf")
    information = (effect_scale / standard_error) ** 2
    return float(standard_error * np.sqrt((1 + 1 / information) * (np.log1p(information) - 2 * np.log(alpha))))


def sequential(daily_differences: list[Difference], effect_scale: float) -> SequentialInterval:
    """The interval after the last of the daily `daily_differences`, and the smallest p-value of them all.

    Raises ValueError without a look.
    """
    if not daily_differences:
        raise ValueError("a sequential test needs at least one look")
    last = daily_differences[-1]
    width = sequential_width(last.standard_error, effect_scale)
    p_value = min(
        1.0,
        *(float(np.exp(-log_likelihood_ratio(day_difference, effect_scale))) for day_difference in daily_differences),
    )
    return SequentialInterval(last.value - width, last.value + width, p_value)


def sample_ratio_p_value(users: Mapping[str, int], shares: Mapping[str, float]) -> float | None:
    """p-value that the numbers of users by policy came from their shares (chi-square); None with one policy only.

    `shares` name all the policies that were dealt, and are divided by their sum; users of any other make it 0.
    """
    if set(users) - set(shares):
        return 0.0
    total = sum(users.values())
    if len(shares) < 2 or total == 0:
        return None
    expected = np.array([shares[name] for name in shares]) / sum(shares.values()) * total
    observed = np.array([users.get(name, 0) for name in shares])
    return float(chi2.sf(((observed - expected) ** 2 / expected).sum(), len(shares) - 1))


def adaptive_ratio_p_value(policy: npt.NDArray[np.int64], propensity: Float64Array) -> float | None:
    """The same where each user was dealt to `policy[user]` with a probability of its own; None with one policy only.

    Under a fair lot the users of a policy, each counted 1 / `propensity[user]` times, are everybody: the policy that
    is furthest from it decides, its p-value times the number of policies (Bonferroni).
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
