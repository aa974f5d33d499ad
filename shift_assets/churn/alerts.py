"""Churn warnings as rows of the alerts table."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.churn.warnings import GONE_DAYS, churn_severity
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.settings.root import Settings

DETECTOR = "bg-nbd"


SHORTEST_GAP = 1.5
"""Mean gap, days, below which a user comes the next day."""
_SENTENCES = {
    "en": {
        "opened": "Away for {length}, since {since}, usually back {habit}; {p:.0%} likely to stay away for four "
        "weeks more.",
        "back": "Back, after being away since {since}.",
        "gone": "Gone: {days} days without a visit, since {since}; no longer watched.",
        "over": "Over now: away since {since}, but within the habit.",
    },
    "zh": {
        "opened": "自 {since} 起已 {days} 天未来访,以往平均每 {usual} 天来访一次;今后四周不来的概率为 {p:.0%}。",
        "back": "已回访:此前自 {since} 起未来访。",
        "gone": "已流失:自 {since} 起 {days} 天未来访,不再跟踪。",
        "over": "预警解除:自 {since} 起未来访,仍合其习惯。",
    },
}


def churn_alerts(predictions: pa.Table, settings: Settings) -> pa.Table:
    """Return `shift_alerts` of kind `churn_risk`: one row per warning that opened or closed on a day.

    The onset is the first day of the absence, the confidence is the churn probability, and the severity follows the
    visits that the user's rhythm has in four weeks. No category rises or falls.

    Args:
        predictions: `churn_predictions` of any days and segments.
        settings: cut points of the severity, and the language of the sentence.
    """
    rows = []
    for row in predictions.filter(pc.is_in(predictions["warning"], pa.array(["opened", "closed"]))).to_pylist():
        rows.append(
            {
                "day": row["day"],
                "segment": row["segment"],
                "alert_id": churn_alert_id(row["user_id"], row["warning_opened_day"]),
                "user_id": row["user_id"],
                "status": row["warning"],
                "kind": "churn_risk",
                "severity": churn_severity(row["gap_mean_days"], settings.churn),
                "magnitude": 0.0,
                "confidence": row["churn_probability"],
                "onset_day": row["away_since"],
                "rising": [],
                "falling": [],
                "explanation": churn_sentence(row, settings.alerts.language),
                "detector": DETECTOR,
            }
        )
    rows.sort(key=lambda row: (row["day"], row["segment"], row["alert_id"]))
    return SHIFT_ALERTS.conform(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))


def churn_alert_id(user_id: str, opened: date) -> str:
    """Return the id of the warning about a user that opened on a day, 32 hex digits."""
    return hashlib.blake2b(f"{user_id}|churn_risk|{opened}".encode(), digest_size=16).hexdigest()


def churn_sentence(row: dict[str, Any], language: Literal["en", "zh"]) -> str:
    """Describe the warning of a row of `churn_predictions` in a sentence.

    "Away for 16 days, since 2026-11-12, usually back after 9 days; 82 % likely to stay away for four weeks more."
    """
    gap, days = row["gap_mean_days"], row["days_away"]
    daily = gap is None or gap < SHORTEST_GAP
    return _SENTENCES[language][_change(row)].format(
        since=row["away_since"],
        days=days,
        length="1 day" if days == 1 else f"{days} days",
        usual=1 if daily else round(gap),
        habit="the next day" if daily else f"after {gap:.0f} days",
        p=row["churn_probability"],
    )


def _change(row: dict[str, Any]) -> str:
    if row["warning"] == "opened":
        return "opened"
    if row["days_away"] == 0:
        return "back"
    return "gone" if row["days_away"] > GONE_DAYS else "over"
