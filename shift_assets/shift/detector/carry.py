"""Rows of the interest state from one day to the next: read, carried for inactive users, and merged."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.settings.root import AlertSettings
from shift_assets.shift.alerts.open_alerts import ALERT_DAYS

PROFILES = ("profile", "former_profile")
_LISTS = (*PROFILES, "recent_days", "log_evidence", "run_length")
_ALERT = ("alert_id", "alert_kind", *ALERT_DAYS)


def sorted_by_user(state: pa.Table) -> pa.Table:
    """Return the rows sorted by user; a state that `advance` returned already is."""
    users = state["user_id"].combine_chunks()
    is_sorted = pc.all(pc.less(users[:-1], users[1:])).as_py()
    return state if is_sorted in (True, None) else state.sort_by("user_id")


def rows_of_active(state: pa.Table, row_of_active: pa.Int32Array) -> pa.Table:
    """Return `state` at these rows; where a row is null, the empty row of a user without a past."""
    found = state.take(row_of_active)
    for name in _LISTS:
        column = found[name]
        filled = pc.if_else(column.is_valid(), column, pa.scalar([], column.type))
        found = found.set_column(found.schema.get_field_index(name), name, filled)
    return found


def carry_inactive(state: pa.Table, day: date, settings: AlertSettings) -> pa.Table:
    """Return the rows of `day` for users who are not active on it.

    An alert that closed on the day before is dropped, and one not renewed for `settings.close_after_days` closes.
    """
    was_closed = pc.fill_null(pc.equal(state["alert_status"], "closed"), False)
    exceeded = pc.if_else(was_closed, pa.scalar(None, pa.date32()), state["alert_exceeded_day"])
    last_allowed = pa.scalar(day - timedelta(days=settings.close_after_days), pa.date32())
    closes = pc.fill_null(pc.less_equal(exceeded, last_allowed), False)
    columns = {name: state[name] for name in state.column_names}
    for name in _ALERT:
        columns[name] = pc.if_else(was_closed, pa.scalar(None, state[name].type), state[name])
    columns["alert_status"] = pc.if_else(closes, pa.scalar("closed"), pa.scalar(None, pa.string()))
    for name in ("p_value", "q_value"):
        columns[name] = pa.nulls(len(state), pa.float64())
    columns["day"] = pa.chunked_array([pa.repeat(pa.scalar(day, pa.date32()), len(state))])
    return pa.table(columns, schema=INTEREST_STATE.schema)


def merge_active(carried: pa.Table, advanced: pa.Table, row_of_active: pa.Int32Array) -> pa.Table:
    """Return all rows sorted by user, those of active users replaced and new users inserted.

    carried: rows of all known users, sorted. advanced: rows of the active users, sorted; `row_of_active` is the row
    of each in `carried`, null for a new user.
    """
    is_new = row_of_active.is_null()
    order = pa.concat_arrays([carried["user_id"].combine_chunks(), advanced["user_id"].combine_chunks().filter(is_new)])
    # One gather merges both: a row of `carried`, or beyond it one of `advanced`.
    gathered = np.concatenate(
        [np.arange(len(carried)), len(carried) + np.flatnonzero(is_new.to_numpy(zero_copy_only=False))]
    )
    replaced = row_of_active.is_valid().to_numpy(zero_copy_only=False)
    gathered[row_of_active.drop_null().to_numpy()] = len(carried) + np.flatnonzero(replaced)
    merged = gathered[pc.sort_indices(order).to_numpy()]
    return pa.concat_tables([carried, advanced]).take(pa.array(merged)).combine_chunks()
