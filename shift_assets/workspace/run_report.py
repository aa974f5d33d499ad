"""What a range run came to, in numbers and three sentences: the end of the main job, and the quality report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.outcomes import ALERT_OUTCOMES, CHURN_CALIBRATION, RECOMMENDATION_OUTCOMES
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, INTEREST_STATE, OPEN_ALERTS, SHIFT_ALERTS
from shift_assets.workspace.workspace import Workspace

EXAMPLES = 3
_CHURN_MEASURES = ["n_users", "auc", "brier", "visits_brier"]
_EVIDENCE_RULES = (("evidence", "flagged_share"), ("evidence", "average_run_length"))
_SELF_CHECK_COLUMNS = ["day", "segment", "detector", "chosen", "note"]


@dataclass(frozen=True)
class ChurnReport:
    """What came of churn predictions and warnings after 28 days; measures are None where nothing could be evaluated."""

    stated_precision: float
    warnings_evaluated: int
    warnings_confirmed_share: float | None
    predictions_evaluated: int
    auc: float | None
    brier: float | None
    visits_brier: float | None
    segments_without_threshold: list[str]


@dataclass(frozen=True)
class RunReport:
    """Counts over the closed range of days and the segments; rates are None where nothing could be evaluated."""

    first_day: date
    last_day: date
    segments: list[str]
    rows_delivered: int
    rows_clean: int
    rows_rejected: dict[str, int]
    failed_expectations: list[str]
    users_watched: int
    alarms_opened: dict[str, int]
    alerts_open: dict[str, int]
    examples: list[dict[str, str]]
    recommendations: int
    users_with_recommendations: int
    recall_at_k: float | None
    k: int | None
    users_judged: int
    alarms_judged: int
    alarms_confirmed_share: float | None
    patience_active_days: float | None
    self_checks: dict[str, str]  # by segment: what the newest one of the days found
    churn: ChurnReport

    def as_json(self) -> dict[str, Any]:
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(self).items()}


def rows_by_table(
    workspace: Workspace, names: Sequence[str], first: date, last: date, segments: Sequence[str]
) -> dict[str, int]:
    """Rows of the partitions of the closed range of days and the segments, of those names that are tables."""
    return {
        name: sum(
            found.rows
            for partition, found in workspace.lake.published(TABLES[name]).items()
            if first <= partition.day <= last and partition.segment in segments
        )
        for name in names
        if name in TABLES
    }


def build_run_report(workspace: Workspace, first: date, last: date, segments: list[str]) -> RunReport:
    """Reads the lake's tables for the closed range of days."""

    def read(table: Any, columns: list[str]) -> pa.Table:
        return workspace.lake.read(table, first_day=first, last_day=last, segments=segments, columns=columns)

    clean = read(CLEAN_EVENTS, ["day"]).num_rows
    reasons = Counter(read(REJECTED_EVENTS, ["reason"])["reason"].to_pylist())
    check_results = read(QUALITY_VERDICTS, ["day", "segment", "table_name", "expectation", "severity", "passed"])
    state = workspace.lake.read(INTEREST_STATE, first_day=last, last_day=last, segments=segments, columns=["user_id"])
    alerts = read(SHIFT_ALERTS, ["day", "segment", "status", "kind", "magnitude", "explanation", "alert_id"])
    opened = alerts.filter(pc.equal(alerts["status"], "opened"))
    still_open = workspace.lake.read(OPEN_ALERTS, first_day=last, last_day=last, segments=segments, columns=["kind"])
    slates = read(RECOMMENDATIONS, ["user_id", "day"])
    outcomes = read(RECOMMENDATION_OUTCOMES, ["users", "k", "recall_at_k"]).to_pylist()
    evaluated = [row for row in outcomes if row["recall_at_k"] is not None and row["users"]]
    users_judged = sum(row["users"] for row in evaluated)
    rule = workspace.settings.alerts
    outcomes_of_alerts = read(ALERT_OUTCOMES, ["confirmed", "log_likelihood_gain"])
    is_shift = outcomes_of_alerts["log_likelihood_gain"].is_valid()
    confirmed = outcomes_of_alerts.filter(is_shift)["confirmed"]
    stayed_away = outcomes_of_alerts.filter(pc.invert(is_shift))["confirmed"].drop_null()
    return RunReport(
        first_day=first,
        last_day=last,
        segments=segments,
        rows_delivered=clean + sum(reasons.values()),
        rows_clean=clean,
        rows_rejected=dict(reasons.most_common()),
        failed_expectations=_failed(check_results),
        users_watched=len(pc.unique(state["user_id"])),
        alarms_opened=dict(Counter(opened["kind"].to_pylist()).most_common()),
        alerts_open=dict(Counter(still_open["kind"].to_pylist()).most_common()),
        examples=_examples(opened),
        recommendations=slates.num_rows,
        users_with_recommendations=len(pc.unique(slates["user_id"])),
        recall_at_k=sum(row["recall_at_k"] * row["users"] for row in evaluated) / users_judged if evaluated else None,
        k=evaluated[0]["k"] if evaluated else None,
        users_judged=users_judged,
        alarms_judged=len(confirmed),
        alarms_confirmed_share=pc.mean(confirmed).as_py() if len(confirmed) else None,
        patience_active_days=rule.average_run_length if (rule.detector, rule.rule) in _EVIDENCE_RULES else None,
        self_checks=_self_checks(read(DETECTOR_SELF_CHECK, _SELF_CHECK_COLUMNS)),
        churn=_churn_report(
            workspace.settings.churn.precision,
            stayed_away,
            read(CHURN_CALIBRATION, _CHURN_MEASURES),
            read(CHURN_PREDICTIONS, ["day", "segment", "threshold"]),
        ),
    )


def _churn_report(
    precision: float, stayed_away: pa.ChunkedArray, weeks: pa.Table, predictions: pa.Table
) -> ChurnReport:
    """Measures are means of the weekly ones, by users; the thresholds are those of the last day."""
    measured = [row for row in weeks.to_pylist() if row["auc"] is not None]
    users = sum(row["n_users"] for row in measured)

    def mean(name: str) -> float | None:
        return sum(row[name] * row["n_users"] for row in measured) / users if measured else None

    last = predictions.filter(pc.equal(predictions["day"], pc.max(predictions["day"])))
    return ChurnReport(
        stated_precision=precision,
        warnings_evaluated=len(stayed_away),
        warnings_confirmed_share=pc.mean(stayed_away).as_py() if len(stayed_away) else None,
        predictions_evaluated=users,
        auc=mean("auc"),
        brier=mean("brier"),
        visits_brier=mean("visits_brier"),
        segments_without_threshold=sorted(
            pc.unique(last.filter(pc.invert(last["threshold"].is_valid()))["segment"]).to_pylist()
        ),
    )


def _self_checks(checks: pa.Table) -> dict[str, str]:
    """The sentence of each segment's newest self-check."""
    said = checks.filter(pc.field("chosen") | (pc.field("detector") == "none")).sort_by("day").to_pylist()
    return {row["segment"]: row["note"] for row in said if row["note"] is not None}


def _failed(check_results: pa.Table) -> list[str]:
    failed = check_results.filter(pc.invert(check_results["passed"])).to_pylist()
    counts = Counter((row["severity"], row["table_name"], row["expectation"]) for row in failed)
    return [
        f"{severity} {table}: {expectation} ({count} partitions)"
        for (severity, table, expectation), count in sorted(counts.items())
    ]


def _examples(opened: pa.Table) -> list[dict[str, str]]:
    """The largest alerts, of different kinds and segments where there are such."""
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
