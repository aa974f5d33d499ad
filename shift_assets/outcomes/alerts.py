"""Outcomes of shift alerts: whether the days after an alert confirm it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, sum_by
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.day import day_number
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.interest.user_days import read_user_days, user_day_categories
from shift_assets.interest.windows import contrast, recent_entries
from shift_assets.settings.root import Settings, StateSettings
from shift_assets.shift.alerts.lifecycle import MIX_KINDS

BACKGROUND = 0.1
"""Share of either profile that is spread evenly over all categories, so that no event has probability 0.

It is the same on both sides, so a category in neither profile has no effect. A pseudo-count would weigh more in the
shorter window, and every unknown category would confirm the alert.
"""

EVENT_COLUMNS = [column for column, behavior in enumerate(BEHAVIORS) if behavior != "return"]
EVENTS = [f"n_{BEHAVIORS[column]}" for column in EVENT_COLUMNS]


def alert_outcomes(alerts: pa.Table, state: pa.Table, series: pa.Table, settings: Settings) -> pa.Table:
    """Rows of `alert_outcomes` for the shifts that opened on a day of a segment, sorted by alert.

    The gain is the mean, over the user's events of the horizon, of the log-likelihood ratio of the recent window over
    the reference window, in nats per event. A switch or return, like every alert of the evidence detector, is
    evaluated by the categories of the events (each window's score shares, mixed with `BACKGROUND`); a surge or fade of
    the threshold detector by the number of events per active day (Poisson, with each window's mean). An alert is
    confirmed if the gain is positive. Both are null with fewer than `outcomes.minimum_events` events or where a window
    holds no score. Returned goods are not counted
    as events, because they refer to earlier purchases.

    Args:
        alerts: `shift_alerts` of one day and segment; only rows with status `opened` are used, and no churn warnings,
            which have another horizon (`churn_warning_outcomes`).
        state: `interest_state` of the same day.
        series: `interest_series` of the `outcomes.horizon_days` days after it; other days are ignored.
        settings: Settings of the home.

    Raises:
        ValueError: The user of an alert is not in `state`.
    """
    opened = alerts.filter((pc.field("status") == "opened") & (pc.field("kind") != "churn_risk")).sort_by("alert_id")
    if len(opened) == 0:
        return ALERT_OUTCOMES.empty()
    row = pc.index_in(opened["user_id"], value_set=state["user_id"])
    if row.null_count:
        raise ValueError(f"interest_state lacks {row.null_count} users with opened alerts; is it of the same day?")
    after = _horizon(series, opened, settings.outcomes.horizon_days)
    gain_per_user = _gains(opened, state.take(row)["recent_days"], after, settings.state)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = gain_per_user / after.n_events
    known = (after.n_events >= settings.outcomes.minimum_events) & np.isfinite(gain)
    return ALERT_OUTCOMES.conform(
        pa.table(
            {
                "day": opened["day"],
                "segment": opened["segment"],
                "alert_id": opened["alert_id"],
                "horizon_days": pa.repeat(settings.outcomes.horizon_days, len(opened)),
                "confirmed": pa.array(gain > 0, mask=~known),
                "log_likelihood_gain": pa.array(gain, mask=~known),
                "n_events": pa.array(after.n_events.astype(np.int64)),
            }
        )
    )


class _Horizon(NamedTuple):
    """Events of the alerts' users in the horizon, one row per user, day and category."""

    user: Int64[Int64Array, " row"]
    day: Int64[Int64Array, " row"]
    category: pa.ChunkedArray
    events: Float64[Float64Array, " row"]
    n_events: Float64[Float64Array, " user"]
    active_days: Int64[Int64Array, " user"]


def _horizon(series: pa.Table, opened: pa.Table, horizon_days: int) -> _Horizon:
    """The rows of `series` that belong to the users of the opened alerts and the days of their horizon."""
    first = day_number(opened["day"][0].as_py())
    distance = pc.subtract(series["day"].cast(pa.int32()), pa.scalar(first, pa.int32()))
    after = series.filter(pc.and_(pc.greater(distance, 0), pc.less_equal(distance, horizon_days)))
    after = after.filter(pc.is_in(after["user_id"], value_set=opened["user_id"].combine_chunks()))
    events = np.asarray(np.sum([after[name].to_numpy() for name in EVENTS], axis=0), dtype=np.float64)
    user = pc.index_in(after["user_id"], value_set=opened["user_id"]).to_numpy().astype(np.int64)
    day = after["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    active = np.unique(np.stack([user[events > 0], day[events > 0]]), axis=1)
    return _Horizon(
        user,
        day,
        after["category"],
        events,
        n_events=sum_by(user, events, len(opened)),
        active_days=np.bincount(active[0], minlength=len(opened)),
    )


def _gains(
    opened: pa.Table, recent_days: pa.ChunkedArray, after: _Horizon, settings: StateSettings
) -> Float64[Float64Array, " user"]:
    """Summed log-likelihood gain [user] of the horizon under the recent over the reference window."""
    codes = CategoryCodes(user_day_categories(recent_days), after.category)
    user_days = read_user_days(recent_days, codes)
    sides = contrast(user_days, recent_entries(user_days, settings), len(codes))
    cell = (sides.user, sides.category)
    mix_gain = _mix_gain(
        _profiles(sides.share_after(), cell, len(opened), len(codes)),
        _profiles(sides.share_before(), cell, len(opened), len(codes)),
        (after.user, codes.encode(after.category), after.events),
    )
    activity_gain = _activity_gain(
        sides.counts_after[:, EVENT_COLUMNS].sum(axis=1) / np.maximum(sides.days_after, 1),
        sides.counts_before[:, EVENT_COLUMNS].sum(axis=1) / np.maximum(sides.days_before, 1),
        after.n_events,
        after.active_days,
    )
    kinds, detectors = opened["kind"].to_pylist(), opened["detector"].to_pylist()
    by_mix = np.array([k in MIX_KINDS or d == "evidence" for k, d in zip(kinds, detectors, strict=True)], dtype=bool)
    return np.where(by_mix, mix_gain, activity_gain)


def _profiles(
    share: Float64Array, cell: tuple[Int64Array, Int64Array], n_users: int, n_categories: int
) -> Float64[Float64Array, "user category"]:
    """Probability of every category [user, category]; a row is nan where its window holds no score."""
    out = np.zeros((n_users, n_categories))
    out[cell] = share
    return (1 - BACKGROUND) * out + BACKGROUND / n_categories


def _mix_gain(
    recent: Float64Array, reference: Float64Array, events: tuple[Int64Array, Int64Array, Float64Array]
) -> Float64Array:
    """Summed log-likelihood gain [user] of events given as (user, category, number of events)."""
    user, category, number = events
    terms = number * (np.log(recent[user, category]) - np.log(reference[user, category]))
    gain = sum_by(user, terms, len(recent))
    return np.where(np.isnan(recent + reference).any(axis=1), np.nan, gain)


def _activity_gain(
    recent: Float64Array, reference: Float64Array, n_events: Float64Array, days: Int64Array
) -> Float64Array:
    """Poisson log-likelihood gain [user] of `n_events` in `days` under the recent over the reference daily mean."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(n_events * np.log(recent / reference) - days * (recent - reference))
