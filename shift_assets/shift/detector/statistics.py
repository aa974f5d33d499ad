"""The detector's statistics of a day as the features of a learned detector, and what such a detector says of them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.shift.detector.window_ratios import Prior, WindowRatios

FEATURES = ("mean_ratio", "longest_ratio", "posterior", "evidence", "days_before", "longest_by_days")
"""Statistics of an entry: mean over the windows and longest log ratio, log odds of the posterior, log M, log of the
days before, and its product with the longest log ratio."""
_LARGEST_LOG_ODDS = 12.0


class Score(NamedTuple):
    """What the model says about entries; nan where the past is too short."""

    log_odds: Float64Array  # [entry], of a shift within about the last eight active days, if half of all users shifted
    confidence: Float64Array  # [entry], the same as a calibrated probability
    p_value: Float64Array  # [entry], P(at least these log odds on a day without a shift)


class CalibratedDetector(Protocol):
    """A learned detector, as the state uses it."""

    @property
    def threshold_confidence(self) -> float:
        """Confidence from which an alert opens."""
        ...

    @property
    def onset_share(self) -> float:
        """Of the unshifted days with the largest statistics, the part that begins a run of them."""
        ...

    def clusters_on(self, names: pa.Array, number: Int64[Int64Array, " name"], n_numbers: int) -> Prior:
        """Return what is expected of users, on categories of which several may share a column."""
        ...

    def score(self, features: Float64[Float64Array, "entry feature"], days_before: Float64Array) -> Score:
        """Score entries by their `FEATURES`."""
        ...


def features(
    log_e: Float64Array, posterior: Float64Array, ratios: WindowRatios
) -> Float64[Float64Array, "entry feature"]:
    """Return FEATURES of every entry; nan where no window has enough days before it.

    Args:
        log_e: log M, [entry].
        posterior: posterior of a recent shift, [entry].
        ratios: ratios of the entries.
    """
    known = ~np.isnan(ratios.log_ratio)
    length = known.sum(axis=1)
    used = known & ((np.arange(known.shape[1]) > 0) | (length == 1)[:, None])  # one day alone says little
    scaled = np.where(used, np.exp(0.5 * np.clip(ratios.log_ratio, -50.0, 50.0)), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.log(scaled.sum(axis=1) / used.sum(axis=1))
        log_odds = np.log(posterior) - np.log1p(-posterior)
    longest = ratios.log_ratio[np.arange(len(length)), np.maximum(length - 1, 0)]
    days = np.log1p(ratios.days_before)
    limit = _LARGEST_LOG_ODDS
    return np.stack(
        [
            mean,
            longest,
            np.clip(log_odds, -limit, limit),
            np.clip(log_e, -limit, limit),
            days,
            longest * days,
        ],
        axis=1,
    )
