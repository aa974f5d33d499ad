"""Errors of a forecast of the user's next active day, smoothed, as a detector of shifts: a control chart.

The forecast of a day is the moving average of the user's own shares on the active days before it, within the days that
the state holds. What came minus what was forecast is smoothed per category by an exponentially weighted moving average
(Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1 (1959)): noise of single days
cancels out, a new interest does not. The smoothed error is measured in spreads of the forecast, as the conformal bands
of `forecast.conformal` are, over its own standard error, so that few days count less than many.

The score uses a user's own active days only, and is the same whether it is computed from whole histories or from the
days of the state. Active days rather than weeks: where users come twice a month, a week against the mean of the four
before separates little (AUC .55 against .71 after eight active days, spliced histories of Online Retail II).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array
from shift_assets.forecast.conformal import conformal_quantile
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays, read_user_days, user_day_categories
from shift_assets.settings.root import Settings
from shift_assets.shift.detector.error_chart import standardised_errors

DAYS = 35
"""Newest active days that a score is computed from: as many as the state holds by default."""
HALF_LIFE = 3.0
"""Half-life of the smoothing, in active days. Of 2, 3, 5 and 8 it is within .004 of the best AUC on spliced histories
of Online Retail II, where 5 is best, and of UserBehavior, where 2 is."""
PEAK_DAYS = 8
"""Active days within which the stated share of users is flagged."""
CALIBRATION_DAYS = 91
"""Users who came within this many days calibrate the threshold."""
CALIBRATION_USERS = 2_000
"""Users who calibrate the threshold at most: enough for a share of 2 % within 0.6 percent points."""


@dataclass(frozen=True, slots=True)
class ForecastError:
    """The smoothed forecast error as a detector."""

    name: str = "forecast"

    def score(self, histories: Histories) -> Float64[Float64Array, " entry"]:
        """Return the root of the sum over categories of the squared standardised errors; nan on the first days."""
        user_days = histories.user_days
        return smoothed_errors(user_days, np.arange(len(user_days.day), dtype=np.int64), len(histories.codes))


def smoothed_errors(
    user_days: UserDays, entries: Int64[Int64Array, " row"], n_categories: int
) -> Float64[Float64Array, " row"]:
    """Return the score at the end of each of these entries; nan with fewer than three forecasts.

    Args:
        user_days: active days; of a user's days, the newest DAYS up to an entry count.
        entries: positions in `user_days`.
        n_categories: number of categories.
    """
    begin = np.maximum(user_days.start[user_days.user[entries]], entries + 1 - DAYS)
    return standardised_errors(user_days, begin, entries, n_categories, HALF_LIFE)


def newest_errors(user_days: UserDays, n_categories: int) -> Float64[Float64Array, " user"]:
    """Return the score at the end of every user's newest day; nan for a user without days."""
    out = np.full(user_days.n_users, np.nan)
    came = user_days.n_days > 0
    out[came] = smoothed_errors(user_days, user_days.start[1:][came] - 1, n_categories)
    return out


def calibrated_threshold(state: pa.Table, day: int, settings: Settings) -> float:
    """Return the score that a share `alerts.forecast_flagged` of users reached on their last PEAK_DAYS active days.

    It is the conformal quantile of the users' largest scores, which holds for a user exchangeable with them; infinite
    with fewer users than that share needs. Users with a shift among them make it larger, not smaller.

    Args:
        state: `interest_state` of the day before, of one segment, sorted by user.
        day: the day that the threshold is for, days since 1970-01-01.
        settings: the share, and the active days without which no alert opens: on all PEAK_DAYS the users had as many,
            as far as the state holds them.
    """
    held = settings.state.recent_active_days + settings.state.reference_active_days
    needed = min(settings.alerts.minimum_active_days + PEAK_DAYS - 1, held)
    newest = pa.scalar(day - CALIBRATION_DAYS, pa.int32())
    enough = pc.greater_equal(pc.list_value_length(state["recent_days"]), needed)
    chosen = pc.and_(enough, pc.greater_equal(state["last_active_day"].cast(pa.int32()), newest))
    column = state["recent_days"].filter(chosen).slice(0, CALIBRATION_USERS)  # keyed digests in order: drawn at random
    codes = CategoryCodes(user_day_categories(column))
    user_days = read_user_days(column, codes)
    entries = np.flatnonzero(user_days.age < PEAK_DAYS)
    peaks = np.full(user_days.n_users, np.nan)
    np.fmax.at(peaks, user_days.user[entries], smoothed_errors(user_days, entries, len(codes)))
    return conformal_quantile(peaks[~np.isnan(peaks)], 1.0 - settings.alerts.forecast_flagged)
