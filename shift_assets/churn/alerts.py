"""Churn warnings as columns of the interest state, and as rows of the alerts table."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.churn.bg_nbd import HORIZON_DAYS, ChurnParameters, churn_probabilities
from shift_assets.churn.warnings import ChurnObservation, ChurnWarnings, churn_severity, churn_transitions, visits_lost
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.settings.root import ChurnSettings, Settings

DETECTOR = "bg-nbd"
_ALERT_COLUMNS = [
    *("day", "segment", "user_id", "last_active_day", "recent_days"),
    *("churn_probability", "churn_opened_day", "churn_status"),
]


def with_churn_columns(
    state: pa.Table, parameters: ChurnParameters | None, day: date, settings: ChurnSettings
) -> pa.Table:
    """Return `state` with its churn columns as of the end of `day`, rows in the order given.

    `churn_status` is `opened` or `closed` on the day on which a warning opens or closes, else null;
    `churn_opened_day` remains through the closing day.

    Args:
        state: `interest_state` of `day`, every user, whose `churn_probability`, `churn_opened_day` and `churn_status`
            are still those of the day before, null for a new user.
        parameters: from the state of an earlier day; None where there was too little to fit: nothing opens then, and
            only a visit closes a warning.
        day: day of the state.
        settings: thresholds of the warnings.
    """
    was_open = pc.and_(
        state["churn_opened_day"].is_valid(), pc.not_equal(pc.fill_null(state["churn_status"], ""), "closed")
    )
    yesterday = ChurnWarnings(
        pc.fill_null(state["churn_probability"], np.nan).to_numpy(), np.asarray(was_open, dtype=bool)
    )
    today = ChurnObservation(
        np.full(len(state), np.nan) if parameters is None else churn_probabilities(state, parameters, day),
        state["active_days"].to_numpy(),
        np.asarray(pc.equal(state["last_active_day"], pa.scalar(day, pa.date32())), dtype=bool),
    )
    step = churn_transitions(yesterday, today, settings)
    opened_day = pc.if_else(
        pa.array(step.opened),
        pa.scalar(day, pa.date32()),
        pc.if_else(was_open, state["churn_opened_day"], pa.scalar(None, pa.date32())),
    )
    status = np.full(len(state), None, dtype=object)
    status[step.opened], status[step.closed] = "opened", "closed"
    columns = {
        "churn_probability": pa.array(today.probability, from_pandas=True),
        "churn_opened_day": opened_day,
        "churn_status": pa.array(status, pa.string()),
    }
    for name, values in columns.items():
        state = state.set_column(state.schema.get_field_index(name), name, values)
    return state


def churn_alerts(state: pa.Table, settings: Settings) -> pa.Table:
    """Return `shift_alerts` of kind `churn_risk`: one row per warning that opened or closed on the state's day.

    The onset is the day after the last visit before the silence, the confidence is the churn probability, and the
    severity follows the visits that the user's rhythm has in four weeks. No category rises or falls.

    Args:
        state: `interest_state` of any days and segments, with its churn columns.
        settings: thresholds, and the language of the sentence.
    """
    changed = state.filter(state["churn_status"].is_valid())
    rows = []
    for row, lost in zip(changed.select(_ALERT_COLUMNS).to_pylist(), visits_lost(changed).tolist(), strict=True):
        opened = row["churn_opened_day"]
        onset = max(visit["day"] for visit in row["recent_days"] if visit["day"] < opened) + timedelta(days=1)
        rows.append(
            {
                "day": row["day"],
                "segment": row["segment"],
                "alert_id": churn_alert_id(row["user_id"], opened),
                "user_id": row["user_id"],
                "status": row["churn_status"],
                "kind": "churn_risk",
                "severity": churn_severity(lost, settings.churn),
                "magnitude": 0.0,
                "confidence": row["churn_probability"],
                "onset_day": onset,
                "rising": [],
                "falling": [],
                "explanation": churn_sentence(row, onset, HORIZON_DAYS / lost, settings.alerts.language),
                "detector": DETECTOR,
            }
        )
    rows.sort(key=lambda row: (row["day"], row["segment"], row["alert_id"]))
    return SHIFT_ALERTS.conform(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))


def churn_alert_id(user_id: str, opened: date) -> str:
    """Return the id of the warning about a user that opened on a day, 32 hex digits."""
    return hashlib.blake2b(f"{user_id}|churn_risk|{opened}".encode(), digest_size=16).hexdigest()


def churn_sentence(row: dict[str, Any], onset: date, gap_days: float, language: Literal["en", "zh"]) -> str:
    """Describe the warning in a sentence; `row` has columns of `interest_state`, `gap_days` is the user's mean gap.

    "Away since 2026-11-12, usually back after 9 days; 82 % likely to stay away for four weeks more."
    """
    opened, back = row["churn_status"] == "opened", row["last_active_day"] == row["day"]
    usual = f"{gap_days:.0f}" if gap_days >= 1.5 else "1"
    if language == "zh":
        if opened:
            likely = f"今后四周不来的概率为 {row['churn_probability']:.0%}"
            return f"自 {onset} 起未来访,以往平均每 {usual} 天来访一次;{likely}。"
        return f"已回访:此前自 {onset} 起未来访。" if back else f"预警解除:自 {onset} 起未来访,仍合其习惯。"
    if opened:
        habit = "usually back the next day" if usual == "1" else f"usually back after {usual} days"
        return f"Away since {onset}, {habit}; {row['churn_probability']:.0%} likely to stay away for four weeks more."
    return f"Back, after being away since {onset}." if back else f"Over now: away since {onset}, but within the habit."
