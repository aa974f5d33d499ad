"""Laws of the main job: the shipped real log, shortened, from the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shift_assets.cli import run
from shift_assets.cli.app import app
from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.workspace.home import open_workspace

DAYS, HISTORY_DAYS = 5, 40
"""The recommendations of five days are evaluated after three; weeks of history let some alerts open, of the detector
that needs few visit days."""
ENVIRONMENT = {
    "SHIFT_ENGINE": "embedded",
    "SHIFT_OUTCOMES__HORIZON_DAYS": "3",
    "SHIFT_STATE__RECENT_ACTIVE_DAYS": "3",
    "SHIFT_STATE__REFERENCE_ACTIVE_DAYS": "9",
    "SHIFT_SIGNALS__MINIMUM_ACTIVE_DAYS": "4",
    "SHIFT_ALERTS__DETECTOR": "threshold",
    "SHIFT_ALERTS__MINIMUM_ACTIVE_DAYS": "4",
    "SHIFT_MODEL__MAXIMUM_STEPS": "10",
    "SHIFT_MODEL__WARM_STEPS": "2",
    "SHIFT_MODEL__DIMENSIONS": "16",
    "SHIFT_RECOMMENDATIONS__LOOK_BACK_DAYS": "21",
    "SHIFT_RECOMMENDATIONS__ACTIVE_WITHIN_DAYS": "14",
}


def test_the_main_job_reports_numbers_that_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo --json`: delivered is clean plus rejected, as in the tables; alerts have sentences; recall is a rate."""
    monkeypatch.setattr(run, "DEMO_DAYS", DAYS)
    monkeypatch.setattr(run, "DEMO_HISTORY_DAYS", HISTORY_DAYS)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["demo", "--home", str(tmp_path / "home"), "--json"])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    lake = open_workspace(tmp_path / "home").lake
    first = run.DEMO_LAST_DAY.replace(day=run.DEMO_LAST_DAY.day - DAYS + 1)
    assert report["rows_clean"] == lake.read(CLEAN_EVENTS, first_day=first).num_rows > 0
    assert sum(report["rows_rejected"].values()) == lake.read(REJECTED_EVENTS, first_day=first).num_rows > 0
    assert report["rows_delivered"] == report["rows_clean"] + sum(report["rows_rejected"].values())
    assert not [line for line in report["failed_expectations"] if line.startswith("ERROR")]
    assert 0 < report["recall_at_k"] < 1
    assert report["users_watched"] > 1_000
    opened = [row for row in lake.read(SHIFT_ALERTS, first_day=first).to_pylist() if row["status"] == "opened"]
    assert sum(report["alarms_opened"].values()) == len(opened) > 0
    sentences = {row["explanation"] for row in opened}
    assert report["examples"]
    assert {example["explanation"] for example in report["examples"]} <= sentences


def test_the_main_job_prints_a_readable_report_from_a_folder_with_a_space(tmp_path: Path) -> None:
    """As text in a process of its own: exit code 0, no traceback, the folder quoted in the next command."""
    home = tmp_path / "my shop"
    short = f"from shift_assets.cli import app, run; run.DEMO_DAYS, run.DEMO_HISTORY_DAYS = {DAYS - 1}, 7; app.main()"
    done = subprocess.run(
        [sys.executable, "-c", short, "demo", "--home", str(home)],
        env={**os.environ, **ENVIRONMENT, "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rows = re.search(r"Rows delivered\s+([\d,]+)\s+clean\s+([\d,]+)\s+rejected\s+([\d,]+)", done.stdout)
    assert rows, done.stdout
    delivered, clean, rejected = (int(number.replace(",", "")) for number in rows.groups())
    assert delivered == clean + rejected
    assert re.search(r"recall@20\s+0\.\d+ on the 3 days after", done.stdout), done.stdout
    assert f"shift-assets ui --home '{home}'" in " ".join(done.stdout.split())
    assert (home / "bi" / "bi_public.duckdb").exists()
