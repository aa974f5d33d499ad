"""The recursion behind `forecast_error`: compiled, and without shapes, whose checks Numba cannot pickle."""

from __future__ import annotations

import numpy as np
from numba import njit

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.forecast.conformal import MINIMUM_VARIANCE
from shift_assets.interest.user_days import UserDays

MINIMUM_ERRORS = 3
"""Days with a forecast below which there is no score."""


def standardised_errors(
    user_days: UserDays, begin: Int64Array, entries: Int64Array, n_categories: int, half_life: float
) -> Float64Array:
    """Return the norm over categories of the smoothed errors in standard errors, [row].

    Args:
        user_days: active days.
        begin: first entry that counts, [row].
        entries: last entry that counts, of the same user, [row].
        n_categories: number of categories.
        half_life: half-life of the smoothing, in scored days.
    """
    out = np.full(len(entries), np.nan)
    starts, days = user_days.score_start, user_days.is_scored
    _add_errors(
        begin, entries, starts, user_days.category, user_days.share, days, n_categories, 2 ** (-1 / half_life), out
    )
    return out


@njit(cache=True)
def _add_errors(begin, entries, score_start, category, share, is_scored, n_categories, keep, out):  # type: ignore[no-untyped-def]  # noqa: PLR0917, PLR0912
    total, error = np.zeros(n_categories), np.zeros(n_categories)  # shares of the days before; smoothed, to be divided
    met, last_row = np.zeros(n_categories, dtype=np.int64), np.full(n_categories, -1)
    for row in range(len(entries)):
        n_met, n_days, n_errors = 0, 0, 0
        weight = weight_square = 0.0
        for entry in range(begin[row], entries[row] + 1):
            if not is_scored[entry]:
                continue
            for cell in range(score_start[entry], score_start[entry + 1]):
                if last_row[category[cell]] < row:
                    last_row[category[cell]] = row
                    met[n_met] = category[cell]
                    n_met += 1
            if n_days > 0:
                n_errors += 1
                weight = keep * weight + 1.0
                weight_square = keep * keep * weight_square + 1.0
                for known in met[:n_met]:
                    error[known] = keep * error[known] - total[known] / n_days
                for cell in range(score_start[entry], score_start[entry + 1]):
                    error[category[cell]] += share[cell]
            if entry < entries[row]:
                n_days += 1
                for cell in range(score_start[entry], score_start[entry + 1]):
                    total[category[cell]] += share[cell]
        if n_errors >= MINIMUM_ERRORS:
            square = 0.0
            for known in met[:n_met]:
                forecast, smoothed = total[known] / n_days, error[known] / weight
                square += smoothed**2 / (forecast * (1.0 - forecast) + MINIMUM_VARIANCE)
            out[row] = np.sqrt(square / (weight_square / weight**2 + 1.0 / n_days))
        for known in met[:n_met]:
            total[known] = error[known] = 0.0
