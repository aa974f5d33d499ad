"""Rows of the alerts that are open at the end of a day, whether their users came or not."""

from __future__ import annotations

import logging
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes
from shift_assets.churn.alerts import churn_alert_id
from shift_assets.contracts.columns import CATEGORY_CHANGES
from shift_assets.contracts.shift import OPEN_ALERTS
from shift_assets.interest.user_days import read_user_days, user_day_categories
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.alert_profiles import AlertProfiles

_log = logging.getLogger(__name__)


def open_alerts(state: pa.Table, settings: Settings) -> pa.Table:
    """Return `open_alerts`: one row per user with an open shift alert or churn warning at the end of the state's day.

    Of a user with both the row is that of the shift alert, and `churn_alert_id` names the warning. The profiles are
    those of the user's last active day, so a row changes only with a visit.

    Args:
        state: `interest_state` of any number of (day, segment) partitions.
        settings: windows of the profiles.
    """
    begin = time.perf_counter()
    shifted, warned = _is_open(state, "alert_id", "alert_status"), _is_open(state, "churn_opened_day", "churn_status")
    kept = pc.or_(shifted, warned)
    rows = _rows(state.filter(kept), shifted.filter(kept), warned.filter(kept), settings)
    found = OPEN_ALERTS.conform(rows).sort_by([(name, "ascending") for name in ("day", "segment", "user_id")])
    _log.info("open alerts: %d rows of %d users in %.1f s", len(found), len(state), time.perf_counter() - begin)
    return found


def _is_open(state: pa.Table, name: str, status: str) -> pa.BooleanArray:
    """Whether the alert whose presence the column `name` shows is still open at the end of the day, [user]."""
    goes_on = pc.not_equal(pc.fill_null(state[status], ""), "closed")
    return pc.and_(state[name].is_valid(), goes_on).combine_chunks()


def _rows(users: pa.Table, shifted: pa.BooleanArray, warned: pa.BooleanArray, settings: Settings) -> pa.Table:
    """Rows of users with an open alert; `shifted` and `warned` [user] say which."""
    rising, falling = _changes(users, shifted, settings)
    # A warning closes with the next visit: the silence has lasted since the last one.
    churn_onset = pc.add(users["last_active_day"].cast(pa.int32()), pa.scalar(1, pa.int32())).cast(pa.date32())
    warnings = pa.array(
        [
            churn_alert_id(user_id, opened) if is_warned else None
            for user_id, opened, is_warned in zip(
                users["user_id"].to_pylist(), users["churn_opened_day"].to_pylist(), warned.to_pylist(), strict=True
            )
        ],
        pa.string(),
    )
    return pa.table(
        {
            **{name: users[name] for name in ("day", "segment", "user_id")},
            "alert_id": pc.if_else(shifted, users["alert_id"], warnings),
            "kind": pc.if_else(shifted, users["alert_kind"], "churn_risk"),
            "onset_day": pc.if_else(shifted, users["alert_onset_day"], churn_onset),
            "opened_day": pc.if_else(shifted, users["alert_opened_day"], users["churn_opened_day"]),
            "confidence": pc.if_else(shifted, users["confidence"], users["churn_probability"]),
            "rising": rising,
            "falling": falling,
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
