"""What a range run came to, in numbers and three sentences: the end of the main job, and the quality report."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts import (
    ALERT_OUTCOMES,
    CLEAN_EVENTS,
    DETECTOR_SELF_CHECK,
    INTEREST_STATE,
    QUALITY_VERDICTS,
    RECOMMENDATION_OUTCOMES,
    RECOMMENDATIONS,
    REJECTED_EVENTS,
    SHIFT_ALERTS,
)
from shift_assets.resources.platform import Platform

EXAMPLES = 3
_BY_PATIENCE = ("evidence", "patience")
_CHECKED = ["detector", "chosen", "active_days", "placebo_false_share"]


@dataclass(frozen=True)
class Summary:
    """Counts over the closed range of days and the segments; rates are None where nothing could be judged."""

    first_day: date
    last_day: date
    segments: list[str]
    rows_delivered: int
    rows_clean: int
    rows_rejected: dict[str, int]
    failed_expectations: list[str]
    users_watched: int
    alarms_opened: dict[str, int]
    examples: list[dict[str, str]]
    recommendations: int
    users_with_recommendations: int
    recall_at_k: float | None
    k: int | None
    users_judged: int
    alarms_judged: int
    alarms_confirmed_share: float | None
    patience_active_days: float | None
    placebo_false_share: float | None

    def as_json(self) -> dict[str, Any]:
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(self).items()}


def summarise(platform: Platform, first: date, last: date, segments: list[str]) -> Summary:
    """Reads the lake's tables for the closed range of days."""

    def read(table: Any, columns: list[str]) -> pa.Table:
        return platform.lake.read(table, first_day=first, last_day=last, segments=segments, columns=columns)

    clean = read(CLEAN_EVENTS, ["day"]).num_rows
    reasons = Counter(read(REJECTED_EVENTS, ["reason"])["reason"].to_pylist())
    verdicts = read(QUALITY_VERDICTS, ["day", "segment", "table_name", "expectation", "severity", "passed"])
    state = platform.lake.read(INTEREST_STATE, first_day=last, last_day=last, segments=segments, columns=["user_id"])
    alerts = read(SHIFT_ALERTS, ["day", "segment", "status", "kind", "magnitude", "explanation", "alert_id"])
    opened = alerts.filter(pc.equal(alerts["status"], "opened"))
    lists = read(RECOMMENDATIONS, ["user_id", "day"])
    outcomes = read(RECOMMENDATION_OUTCOMES, ["users", "k", "recall_at_k"]).to_pylist()
    judged = [row for row in outcomes if row["recall_at_k"] is not None and row["users"]]
    users_judged = sum(row["users"] for row in judged)
    rule = platform.settings.alerts
    verdict_of_alarms = read(ALERT_OUTCOMES, ["confirmed"])["confirmed"].drop_null()
    return Summary(
        first_day=first,
        last_day=last,
        segments=segments,
        rows_delivered=clean + sum(reasons.values()),
        rows_clean=clean,
        rows_rejected=dict(reasons.most_common()),
        failed_expectations=_failed(verdicts),
        users_watched=len(pc.unique(state["user_id"])),
        alarms_opened=dict(Counter(opened["kind"].to_pylist()).most_common()),
        examples=_examples(opened),
        recommendations=lists.num_rows,
        users_with_recommendations=len(pc.unique(lists["user_id"])),
        recall_at_k=sum(row["recall_at_k"] * row["users"] for row in judged) / users_judged if judged else None,
        k=judged[0]["k"] if judged else None,
        users_judged=users_judged,
        alarms_judged=len(verdict_of_alarms),
        alarms_confirmed_share=pc.mean(verdict_of_alarms).as_py() if len(verdict_of_alarms) else None,
        patience_active_days=rule.patience_active_days if (rule.detector, rule.rule) == _BY_PATIENCE else None,
        placebo_false_share=_placebo_false_share(read(DETECTOR_SELF_CHECK, _CHECKED)),
    )


def _placebo_false_share(checks: pa.Table) -> float | None:
    """Share of placebo users whom the chosen alarm statistic flagged in all the days looked at, mean of the checks."""
    chosen = checks.filter(pc.field("chosen") & (pc.field("detector") == "e_value"))
    days = pc.max(chosen["active_days"])
    return cast(float | None, pc.mean(chosen.filter(pc.field("active_days") == days)["placebo_false_share"]).as_py())


def _failed(verdicts: pa.Table) -> list[str]:
    failed = verdicts.filter(pc.invert(verdicts["passed"])).to_pylist()
    counts = Counter((row["severity"], row["table_name"], row["expectation"]) for row in failed)
    return [
        f"{severity} {table}: {expectation} ({count} partitions)"
        for (severity, table, expectation), count in sorted(counts.items())
    ]


def _examples(opened: pa.Table) -> list[dict[str, str]]:
    """The largest alarms, of different kinds and segments where there are such."""
    ranked = opened.sort_by([("magnitude", "descending"), ("alert_id", "ascending")]).to_pylist()
    chosen: list[dict[str, Any]] = []
    for key in (lambda row: row["kind"], lambda row: row["segment"], lambda row: row["alert_id"]):
        for row in ranked:
            if len(chosen) < EXAMPLES and row not in chosen and key(row) not in {key(other) for other in chosen}:
                chosen.append(row)
    return [
        {
            "day": row["day"].isoformat(),
            "segment": row["segment"],
            "kind": row["kind"],
            "explanation": row["explanation"],
        }
        for row in chosen
    ]
