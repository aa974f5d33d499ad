"""The threshold of churn warnings: the lowest whose past warnings were right as often as stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.churn.bg_nbd import HORIZON_DAYS, Visits

GAPS_OF_NEWS = 3.0
"""Mean gaps of absence after which a user is gone and no news; at least twice `HORIZON_DAYS`."""
ONE_SIDED_95 = 1.6448536269514722
STEP = 0.01
HIGHEST = 0.99


@dataclass(frozen=True, slots=True)
class WarningThreshold:
    """The threshold, and the past warnings that it rests on."""

    value: float | None  # None: no threshold reaches the precision
    n_warnings: int  # past warnings at the threshold; without one, at the stated precision as threshold
    precision: float | None  # share of them that stayed away; None without warnings
    precision_low: float | None  # lower end of its one-sided 95 % interval


def may_open(visits: Visits, minimum_active_days: int) -> Bool[BoolArray, " user"]:
    """Whether a warning may open: the user has a rhythm, is away, and not for so long that it is no news."""
    rhythm = visits.frequency + 1 >= minimum_active_days
    return rhythm & (visits.away > 0) & (visits.away <= np.maximum(2 * HORIZON_DAYS, GAPS_OF_NEWS * visits.gap))


def choose_threshold(
    now: Float64[Float64Array, "day user"],
    day_before: Float64[Float64Array, "day user"],
    may: Bool[BoolArray, "day user"],
    churned: Bool[BoolArray, "day user"],
    precision: float,
) -> WarningThreshold:
    """Replay the warnings of past days at every threshold, and return the lowest that kept the stated precision.

    Kept: the lower end of the one-sided 95 % interval (Wilson 1927) of the share of the warned who stayed away reaches
    `precision`. Thresholds below it are not tried: a warning opens where the probability has just reached the
    threshold, so that a lower one could reach the precision only by chance. A user counts with the first warning.

    Args:
        now: probability of no visit on the day.
        day_before: probability on the day before, during the same absence.
        may: whether a warning may open.
        churned: whether the user stayed away in the `HORIZON_DAYS` days after.
        precision: the stated one.
    """
    first = _past_warnings(now, day_before, may, churned, precision)
    thresholds = precision + STEP * np.arange(int((HIGHEST - precision) / STEP + 1e-9) + 1)
    for threshold in thresholds.tolist():
        found = _past_warnings(now, day_before, may, churned, threshold)
        if found.precision_low is not None and found.precision_low >= precision:
            return WarningThreshold(threshold, found.n_warnings, found.precision, found.precision_low)
    return first


def _past_warnings(
    now: Float64Array, day_before: Float64Array, may: BoolArray, churned: BoolArray, threshold: float
) -> WarningThreshold:
    """What followed the warnings of this threshold; without a value."""
    opened = may & (now >= threshold) & (day_before < threshold)
    warned = np.flatnonzero(opened.any(axis=0))
    if len(warned) == 0:
        return WarningThreshold(None, 0, None, None)
    stayed = churned[opened.argmax(axis=0)[warned], warned]
    n_warnings, share = len(warned), float(stayed.mean())
    return WarningThreshold(None, n_warnings, share, wilson_low(share, n_warnings))


def wilson_low(share: float, count: int) -> float:
    """Lower end of Wilson's one-sided 95 % interval of a share of `count`.

    >>> round(wilson_low(0.8, 100), 3)
    0.727
    """
    z2 = ONE_SIDED_95**2
    centre = share + z2 / (2 * count)
    half = ONE_SIDED_95 * (share * (1 - share) / count + z2 / (4 * count**2)) ** 0.5
    return float((centre - half) / (1 + z2 / count))
