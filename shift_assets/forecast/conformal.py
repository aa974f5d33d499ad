"""Prediction bands by split conformal prediction, which cover at their level for any forecaster.

A user's categories depend on each other, so a user's week counts once, with the largest of its residuals: all bands of
the user hold at once. A residual is measured in units of the forecast's spread, so that a share near 0 gets a narrower
band than one near a half (Lei, G'Sell, Rinaldo, Tibshirani & Wasserman, "Distribution-Free Predictive Inference for
Regression", JASA 113 (2018), section 5.2). For exchangeable users a new one lies inside with probability at least the
level; weeks are not exchangeable, so the actual coverage is measured.
"""

from __future__ import annotations

import math

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.forecast.features import Examples
from shift_assets.forecast.weeks import Weeks

MINIMUM_VARIANCE = 0.1
"""Keeps the spread of a forecast of 0 or 1 at a third: a user of few events a week may try anything. Of 0.01 to 1 the
bands were narrowest at 0.1 to 0.25, both on Online Retail II and on simulated logs; at 0.01 they were up to half
wider."""

MINIMUM_QUANTILE = 0.01
"""Minimum width of a band, in spreads: where every share was predicted exactly, rounding must stay inside."""


def spread(share: Float64Array) -> Float64Array:
    """Spread of a forecast share 0..1: the standard deviation of a Bernoulli variable, at least about a third."""
    return np.sqrt(share * (1 - share) + MINIMUM_VARIANCE)


def user_residuals(weeks: Weeks, rows: Examples, forecast: Float64Array) -> Float64Array:
    """Largest |share - forecast| in spreads over all categories, of every user with a forecast who came, [user].

    Args:
        weeks: the scores; they hold the target week.
        rows: examples of one target week. A category without a row was forecast as 0.
        forecast: forecast share of every row.
    """
    target = int(rows.week[0])
    forecast_of_pair = np.zeros(len(weeks.user))
    forecast_of_pair[rows.pair] = forecast
    came = weeks.total[:, target] > 0
    known = came & (np.bincount(weeks.user[rows.pair], minlength=len(weeks.users)) > 0)
    pair = np.flatnonzero(known[weeks.user])
    user = weeks.user[pair]
    share = weeks.score[pair, target] / weeks.total[user, target]
    largest = np.zeros(len(weeks.users))
    np.maximum.at(largest, user, np.abs(share - forecast_of_pair[pair]) / spread(forecast_of_pair[pair]))
    return largest[known]


def conformal_quantile(residuals: Float64Array, level: float) -> float:
    """Return the size of a band that covers a new residual at `level`, given `residuals` unknown to the fit.

    It is the ceil((n + 1) level)-th smallest of the n, at least `MINIMUM_QUANTILE`; infinite for fewer than
    `minimum_residuals`.

    >>> conformal_quantile(np.arange(9.0), 0.9)
    8.0
    """
    if len(residuals) < minimum_residuals(level):
        return math.inf
    return max(float(np.sort(residuals)[math.ceil((len(residuals) + 1) * level) - 1]), MINIMUM_QUANTILE)


def minimum_residuals(level: float) -> int:
    """Number of residuals that a finite quantile needs.

    >>> minimum_residuals(0.9)
    9
    """
    return math.ceil(round(level / (1 - level), 9))
