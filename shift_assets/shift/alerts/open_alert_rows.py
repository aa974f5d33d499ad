"""Rows of the alerts that are open at the end of a day, whether their users came or not."""

from __future__ import annotations

import logging
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, user_day_names
from shift_assets.churn.alerts import churn_alert_id
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.columns import CATEGORY_CHANGES
from shift_assets.contracts.shift import OPEN_ALERTS
from shift_assets.interest.user_days import read_user_days, user_day_categories
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.alert_profiles import AlertProfiles

_COLUMNS = [
    *("day", "segment", "user_id", "recent_days", "confidence", "alert_id", "alert_kind", "alert_status"),
    *("alert_opened_day", "alert_onset_day", "alert_first_onset_day"),
]
"""Columns of the state that the rows are made from."""

_log = logging.getLogger(__name__)


def open_alerts(state: pa.Table, settings: Settings, churn: pa.Table | None = None) -> pa.Table:
    """Return `open_alerts`: one row per user with an open shift alert or churn warning at the end of the state's day.

    Of a user with both the row is that of the shift alert, and `churn_alert_id` names the warning. The profiles are
    those of the user's last active day, so a row changes only with a visit.

    Args:
        state: `interest_state` of any number of (day, segment) partitions.
        settings: windows of the profiles.
        churn: `churn_predictions` of the same partitions; without them there are no churn warnings.
    """
    begin = time.perf_counter()
    state = _with_open_warnings(state.select(_COLUMNS), CHURN_PREDICTIONS.empty() if churn is None else churn)
    goes_on = pc.not_equal(pc.fill_null(state["alert_status"], ""), "closed")
    shifted = pc.and_(state["alert_id"].is_valid(), goes_on).combine_chunks()
    warned = state["warning_opened_day"].is_valid().combine_chunks()
    kept = pc.or_(shifted, warned)
    rows = _rows(state.filter(kept), shifted.filter(kept), settings)
    found = OPEN_ALERTS.conform(rows).sort_by([(name, "ascending") for name in ("day", "segment", "user_id")])
    _log.info("open alerts: %d rows of %d users in %.1f s", len(found), len(state), time.perf_counter() - begin)
    return found


def _with_open_warnings(state: pa.Table, churn: pa.Table) -> pa.Table:
    """Add the probability and opening day of open churn warnings to `state`, null for users without one."""
    warned = churn.filter(pc.is_in(churn["warning"], pa.array(["opened", "open"])))
    row = pc.index_in(user_day_names(state), value_set=user_day_names(warned))
    for name in ("churn_probability", "warning_opened_day", "away_since"):
        state = state.append_column(name, warned[name].take(row))
    return state


def _rows(users: pa.Table, shifted: pa.BooleanArray, settings: Settings) -> pa.Table:
    """Rows of users with an open alert: a shift alert where `shifted` [user], else a churn warning."""
    rising, falling = _changes(users, shifted, settings)
    warnings = pa.array(
        [
            None if opened is None else churn_alert_id(user_id, opened)
            for user_id, opened in zip(
                users["user_id"].to_pylist(), users["warning_opened_day"].to_pylist(), strict=True
            )
        ],
        pa.string(),
    )
    return pa.table(
        {
            **{name: users[name] for name in ("day", "segment", "user_id")},
            "alert_id": pc.if_else(shifted, users["alert_id"], warnings),
            "kind": pc.if_else(shifted, users["alert_kind"], "churn_risk"),
            "onset_day": pc.if_else(shifted, users["alert_onset_day"], users["away_since"]),
            "opened_day": pc.if_else(shifted, users["alert_opened_day"], users["warning_opened_day"]),
            "confidence": pc.if_else(shifted, users["confidence"], users["churn_probability"]),
            "rising": rising,
            "falling": falling,
            "first_onset_day": pc.if_else(shifted, users["alert_first_onset_day"], pa.scalar(None, pa.date32())),
            "churn_alert_id": pc.if_else(shifted, warnings, pa.scalar(None, pa.string())),
        }
    )


def _changes(users: pa.Table, shifted: pa.BooleanArray, settings: Settings) -> tuple[pa.Array, pa.Array]:
    """Rising and falling categories, [user]; none for a churn warning."""
    alerts = users.filter(shifted)
    codes = CategoryCodes(user_day_categories(alerts["recent_days"]))
    user_days = read_user_days(alerts["recent_days"], codes)
    onset = alerts["alert_onset_day"].cast(pa.int32()).to_numpy().astype(np.int64)
    profiles = AlertProfiles.since(user_days, onset, codes, settings.state)
    row = pa.array(np.cumsum(shifted.to_numpy(zero_copy_only=False)) - 1)
    none = pa.scalar([], CATEGORY_CHANGES)
    rising, falling = (
        pc.if_else(shifted, profiles.changes(sign).take(pc.if_else(shifted, row, None)), none) for sign in (1, -1)
    )
    return rising, falling
