"""What the summary of a run says of churn."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shift_assets.cli.render import print_run_report
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.outcomes import ALERT_OUTCOMES, CHURN_CALIBRATION
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table
from shift_assets.workspace.run_report import build_run_report
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.lakes import pseudonym
from shift_assets_tests.workspaces import new_workspace

DAY = date(2026, 3, 1)


def publish(workspace: Workspace, table: Table, rows: list[dict[str, Any]]) -> None:
    made = pa.Table.from_pylist([{"day": DAY, **row} for row in rows], schema=table.schema)
    segments = sorted({row["segment"] for row in rows})
    claim = workspace.lake.claim(table, [Partition(DAY, segment) for segment in segments], "test")
    workspace.lake.publish(table, made, claim)


def prediction(segment: str, threshold: float | None) -> dict[str, Any]:
    return {
        "segment": segment,
        "user_id": pseudonym(segment),
        "last_active_day": DAY,
        "away_since": DAY,
        "days_away": 0,
        "active_days": 5,
        "churn_probability": 0.4,
        "threshold": threshold,
    }


def week(segment: str, users: int, auc: float | None) -> dict[str, Any]:
    names = ("base_rate", "brier", "brier_low", "brier_high", "visits_brier")
    return {"segment": segment, "n_users": users, "reliability": [], "auc": auc, **dict.fromkeys(names, 0.1)}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = new_workspace(tmp_path)
    one, other = found.source.segment_keys[:2]
    publish(found, CHURN_PREDICTIONS, [prediction(one, 0.72), prediction(other, None)])
    publish(found, CHURN_CALIBRATION, [week(one, 300, 0.8), week(other, 100, 0.6)])
    outcomes = [
        {
            "segment": one,
            "alert_id": pseudonym(number),
            "horizon_days": 7 if gain is not None else 28,
            "confirmed": confirmed,
            "log_likelihood_gain": gain,
            "n_events": 0,
        }
        for number, (confirmed, gain) in enumerate(
            [(True, None), (True, None), (False, None), (True, 0.5), (None, None)]
        )
    ]
    publish(found, ALERT_OUTCOMES, outcomes)
    return found


def test_warnings_are_counted_apart_from_shifts_and_measures_by_users(workspace: Workspace) -> None:
    """Two of three warned users stayed away; the one shift is confirmed; the larger segment weighs more."""
    segments = list(workspace.source.segment_keys)
    report = build_run_report(workspace, DAY, DAY, segments)
    assert (report.alarms_judged, report.alarms_confirmed_share) == (1, 1.0)
    churn = report.churn
    assert (churn.warnings_evaluated, churn.predictions_evaluated) == (3, 400)
    assert churn.warnings_confirmed_share == pytest.approx(2 / 3)
    assert churn.auc == pytest.approx(0.75)
    assert churn.segments_without_threshold == [segments[1]]
    assert report.as_json()["churn"]["stated_precision"] == workspace.settings.churn.precision


def test_the_summary_says_why_no_warning_opens(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """In the words of the setting that decides it."""
    segments = list(workspace.source.segment_keys)
    print_run_report(workspace, build_run_report(workspace, DAY, DAY, segments))
    shown = " ".join(capsys.readouterr().out.split())
    assert "67% of 3 warned users stayed away 28 days (stated: 70%)" in shown
    assert f"{segments[1]}: at no threshold did 70% of the users warned on past days stay away" in shown
    assert "Lower churn.precision" in shown
