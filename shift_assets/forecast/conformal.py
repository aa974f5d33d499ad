"""Bands around forecasts that hold at their level, whatever the forecaster: split conformal prediction.

A user's categories move together, so a user's week counts once, with the largest of its residuals: the bands of
all categories hold together. A residual is measured in units of the forecast's spread, so that a share near 0 gets a
narrower band than one near a half (Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, section 5.2). On exchangeable
users a new one lies inside with probability at least the level; weeks differ, so what was covered is measured.
"""

from __future__ import annotations

import math

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.forecast.features import Examples
from shift_assets.forecast.weeks import Weeks

MINIMUM_VARIANCE = 0.1
"""Keeps the spread of a forecast of 0 or 1 at a third: a user of few events a week may try anything. Of 0.01 to 1 the
bands were narrowest at 0.1 to 0.25, on Online Retail II and simulated alike; at 0.01 up to half wider."""

MINIMUM_QUANTILE = 0.01
"""Spreads that a band has at least: where every share was foretold exactly, rounding is no surprise."""


def spread(share: Float64Array) -> Float64Array:
    """Spread of a forecast share 0..1, as of a yes-or-no variable with that probability, never below a third."""
    return np.sqrt(share * (1 - share) + MINIMUM_VARIANCE)


def user_residuals(weeks: Weeks, rows: Examples, forecast: Float64Array) -> Float64Array:
    """Largest |share - forecast| in spreads over all categories of every user forecast who came, [user].

    rows: those of one target week; forecast: of every row. A category without a row was forecast as 0.
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
    """What holds a new residual at `level`, from `residuals` that the fit has not seen.

    It is the ceil((n + 1) level)-th smallest of the n, or LEAST_QUANTILE; infinite below `minimum_residuals`.
    """
    if len(residuals) < minimum_residuals(level):
        return math.inf
    return max(float(np.sort(residuals)[math.ceil((len(residuals) + 1) * level) - 1]), MINIMUM_QUANTILE)


def minimum_residuals(level: float) -> int:
    """Residuals that a finite quantile needs: 9 for a level of 0.9."""
    return math.ceil(round(level / (1 - level), 9))
