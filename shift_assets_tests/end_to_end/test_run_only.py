"""Laws of `run --only TABLE`: that table and what it needs are as after a run of every stage, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import INTEREST_STATE, SHIFT_ALERTS
from shift_assets.simulate.writer import Summary
from shift_assets_tests.end_to_end.shops import FIRST_RUN_DAY, LAST_DAY, Shop, new_shop

pytestmark = pytest.mark.slow

NEEDED = {
    "churn_predictions",
    "clean_events",
    "deliveries",
    "detector_self_check",
    "forecast_quality",
    "interest_forecasts",
    "interest_series",
    "interest_state",
    "quality_verdicts",
    "rejected_events",
    "shift_alerts",
    "shift_signals",
}


def call_run(shop: Shop, *arguments: str) -> tuple[int, str, str]:
    days = ("--from", FIRST_RUN_DAY.isoformat(), "--to", LAST_DAY.isoformat())
    command = [sys.executable, "-m", "shift_assets", "run", *days, "--home", str(shop.home), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def only_alerts(log: Summary, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, dict[str, Any], str]:
    """A home in which one command made the alerts, its report and its progress."""
    shop = new_shop(tmp_path_factory.mktemp("only") / "home", log.landing)
    code, out, err = call_run(shop, "--only", "shift_alerts", "--json")
    assert code == 0, err
    return shop, json.loads(out), err


def test_alerts_alone_are_those_of_a_run_of_every_stage(shop: Shop, only_alerts: tuple[Shop, Any, str]) -> None:
    """Every table upstream has the rows that it has after a whole run, but for the probabilities of the model, which is
    not needed; no other table has a partition."""
    alone = only_alerts[0].digests()
    assert {name for name, partitions in alone.items() if partitions} == NEEDED
    every_stage = shop.digests()
    same = NEEDED - {"churn_predictions", "quality_verdicts"}  # which hold those of the other tables too
    assert {name: alone[name] for name in same} == {name: every_stage[name] for name in same}
    assert not list(only_alerts[0].workspace.settings.bi.glob("*.duckdb"))


def test_the_report_counts_the_rows_of_what_was_made(only_alerts: tuple[Shop, dict[str, Any], str]) -> None:
    """Rows by table within the range; progress went to standard error alone, step by step."""
    shop, report, progress = only_alerts
    published = shop.workspace.lake.published(SHIFT_ALERTS)
    assert report["only"] == ["shift_alerts"]
    assert report["rows"]["shift_alerts"] == sum(found.rows for found in published.values()) > 0
    assert set(report["rows"]) == NEEDED - {"deliveries", "quality_verdicts"}
    assert "  shift_alerts " in progress


def test_a_table_of_a_day_asks_for_no_history(log: Summary, tmp_path: Path) -> None:
    """The series of a range read no earlier day; the alerts after it make up for the days that are missing."""
    shop = new_shop(tmp_path / "home", log.landing)
    code, out, err = call_run(shop, "--only", "interest_series")
    assert code == 0, err
    assert "interest_series" in out
    lake = shop.workspace.lake
    for table in (CLEAN_EVENTS, INTEREST_SERIES):
        assert min(lake.published(table)).day == FIRST_RUN_DAY
    assert not lake.published(INTEREST_STATE)
    assert not [name for name, table in TABLES.items() if name not in NEEDED and lake.published(table)]


def test_a_wrong_name_runs_nothing(log: Summary, tmp_path: Path) -> None:
    """Exit code 2, and the tables there are."""
    shop = new_shop(tmp_path / "home", log.landing, last_folder=FIRST_RUN_DAY - timedelta(days=20))
    code, _, err = call_run(shop, "--only", "moons")
    assert code == 2
    assert "--only moons: no such table; known: " in err
    assert not shop.workspace.lake.published(CLEAN_EVENTS)
