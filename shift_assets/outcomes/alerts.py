"""What the days after an alarm said about it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, sum_by
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.day import day_number
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.interest.user_days import read_user_days, user_day_categories
from shift_assets.interest.windows import contrast, recent_entries
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.lifecycle import MIX_KINDS

BACKGROUND = 0.1
"""Part of either profile that is spread evenly over all categories, so that no event is impossible.

The same part on both sides: a category that neither profile holds then says nothing either way. A pseudo-count
would not do, because it weighs more in the shorter window and would make every unknown category confirm.
"""

_EVENT_COLUMNS = [column for column, behavior in enumerate(BEHAVIORS) if behavior != "return"]
_EVENTS = [f"n_{BEHAVIORS[column]}" for column in _EVENT_COLUMNS]


def alert_outcomes(alerts: pa.Table, state: pa.Table, series: pa.Table, settings: Settings) -> pa.Table:
    """`alert_outcomes` of the alarms that opened, one row each, sorted by alarm.

    alerts: `shift_alerts` of one day and segment, of which the rows `opened` are judged. state: `interest_state` of
    the same day. series: `interest_series` of the `outcomes.horizon_days` days after it; other days in it are not
    looked at.

    The gain is the mean, over the user's events of those days, of the log-likelihood under the recent window less
    that under the reference window, in nats per event. A switch or return is judged by the categories of the
    events (each window's score shares, mixed with `BACKGROUND`), like every alarm of the evidence; a surge or fade
    of the threshold detector by the number of events per active day (Poisson, with each window's mean). Confirmed:
    the gain is positive; a churn warning's, that the user did not come. Both are null with fewer than
    `outcomes.minimum_events` events, and the gain where a window holds no score. Returns of goods are no events
    here: they speak of what was bought before.

    Raises ValueError when an alarm's user is not in `state`.
    """
    opened = alerts.filter(pc.equal(alerts["status"], "opened")).sort_by("alert_id")
    if len(opened) == 0:
        return ALERT_OUTCOMES.empty()
    row = pc.index_in(opened["user_id"], value_set=state["user_id"])
    if row.null_count:
        raise ValueError(f"interest_state lacks {row.null_count} users whose alarms opened; is it of the same day?")
    users = state.take(row)
    after = _horizon(series, opened["day"][0].as_py(), settings.outcomes.horizon_days)
    after = after.filter(pc.is_in(after["user_id"], value_set=opened["user_id"].combine_chunks()))
    events = np.asarray(np.sum([after[name].to_numpy() for name in _EVENTS], axis=0), dtype=np.float64)
    user = pc.index_in(after["user_id"], value_set=opened["user_id"]).to_numpy().astype(np.int64)

    codes = CategoryCodes(user_day_categories(users["recent_days"]), after["category"])
    user_days = read_user_days(users["recent_days"], codes)
    sides = contrast(user_days, recent_entries(user_days, settings.state), len(codes))
    n_events = sum_by(user, events, len(opened))
    kinds, detectors = opened["kind"].to_pylist(), opened["detector"].to_pylist()
    by_mix = np.array([k in MIX_KINDS or d == "evidence" for k, d in zip(kinds, detectors, strict=True)], dtype=bool)
    is_churn = np.array([kind == "churn_risk" for kind in kinds], dtype=bool)
    cell = (sides.user, sides.category)
    mix_gain = _mix_gain(
        _profiles(sides.share_after(), cell, len(opened), len(codes)),
        _profiles(sides.share_before(), cell, len(opened), len(codes)),
        (user, codes.encode(after["category"]), events),
    )
    activity_gain = _activity_gain(
        sides.counts_after[:, _EVENT_COLUMNS].sum(axis=1) / np.maximum(sides.days_after, 1),
        sides.counts_before[:, _EVENT_COLUMNS].sum(axis=1) / np.maximum(sides.days_before, 1),
        n_events,
        _active_days(after, user, events, len(opened)),
    )
    enough = n_events >= settings.outcomes.minimum_events
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.where(by_mix, mix_gain, activity_gain) / n_events
    known = enough & np.isfinite(gain) & ~is_churn
    return ALERT_OUTCOMES.conform(
        pa.table(
            {
                "day": opened["day"],
                "segment": opened["segment"],
                "alert_id": opened["alert_id"],
                "horizon_days": pa.repeat(settings.outcomes.horizon_days, len(opened)),
                "confirmed": pa.array(np.where(is_churn, n_events == 0, gain > 0), mask=~(known | is_churn)),
                "log_likelihood_gain": pa.array(gain, mask=~known),
                "n_events": pa.array(n_events.astype(np.int64)),
            }
        )
    )


def _horizon(series: pa.Table, day: date, horizon_days: int) -> pa.Table:
    distance = pc.subtract(series["day"].cast(pa.int32()), pa.scalar(day_number(day), pa.int32()))
    return series.filter(pc.and_(pc.greater(distance, 0), pc.less_equal(distance, horizon_days)))


def _profiles(
    share: Float64Array, cell: tuple[Int64Array, Int64Array], n_users: int, n_categories: int
) -> Float64Array:
    """Probability of every category [user, category]; a row is nan where its window holds no score."""
    out = np.zeros((n_users, n_categories))
    out[cell] = share
    return (1 - BACKGROUND) * out + BACKGROUND / n_categories


def _mix_gain(
    recent: Float64Array, reference: Float64Array, events: tuple[Int64Array, Int64Array, Float64Array]
) -> Float64Array:
    """Summed log-likelihood gain of the users' events (user, category, number of events), [user]."""
    user, category, number = events
    terms = number * (np.log(recent[user, category]) - np.log(reference[user, category]))
    gain = sum_by(user, terms, len(recent))
    return np.where(np.isnan(recent + reference).any(axis=1), np.nan, gain)


def _activity_gain(
    recent: Float64Array, reference: Float64Array, n_events: Float64Array, days: Int64Array
) -> Float64Array:
    """Poisson log-likelihood gain of `n_events` in `days` under the recent over the reference daily mean, [user]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(n_events * np.log(recent / reference) - days * (recent - reference))


def _active_days(after: pa.Table, user: Int64Array, events: Float64Array, n_users: int) -> Int64Array:
    """Days with an event, [user]."""
    day = after["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    seen = np.unique(np.stack([user[events > 0], day[events > 0]]), axis=1)
    return np.bincount(seen[0], minlength=n_users)
