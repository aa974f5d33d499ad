"""Laws of an upgrade: a home that version 0.1.0 filled goes on where it stopped, with the same content.

The fixture `home_0_1_0.tar.xz` was made with version 0.1.0 (commit d5d61c5): a simulated log of 24 users, 30 items and
16 days with 2 % of dirty rows and planted shifts, two segments by hash, settings with keys that were renamed since
(`churn.line`, `model.look_every`, ...), and every stage run for January 13 and 14, 2026. The log's two last days are
landed and were never run.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.models import MODEL_PREDICTIONS, MODEL_REGISTRY
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import INTEREST_STATE, OPEN_ALERTS, SHIFT_SIGNALS
from shift_assets.contracts.table import Table
from shift_assets.defs.automation.jobs import DAILY
from shift_assets.models.registry.store import load
from shift_assets.storage.event_log import PooledSqliteEventLogStorage
from shift_assets.workspace.doctor import diagnose
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.end_to_end.shops import Digests, Shop, changed

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "home_0_1_0.tar.xz"
FIRST, LAST, NEXT = date(2026, 1, 13), date(2026, 1, 14), date(2026, 1, 15)
MEANT_TO_DIFFER = {
    MODEL_REGISTRY.name,
    MODEL_PREDICTIONS.name,
    QUALITY_VERDICTS.name,
    INTEREST_STATE.name,
    SHIFT_SIGNALS.name,
}
"""The registry names the revision of the code that trained a model. Predictions are computed on the settings' number of
threads since, which rounds the last digits differently, and check results name the digest of what they checked.
The state no longer holds the churn warnings, and neither it nor the signals p- and q-values before a self-check; their
other columns are the same.
`forecast_quality`, which evaluates fewer members than version 0.1.0 did, has rows on the day of the weekly fit only;
neither day is one."""


COMPARED = (MODEL_REGISTRY, MODEL_PREDICTIONS, QUALITY_VERDICTS, INTEREST_STATE, SHIFT_SIGNALS)
LATER_TABLES = {OPEN_ALERTS.name, CHURN_PREDICTIONS.name}
"""Tables that version 0.1.0 did not have."""


def unpacked(target: Path) -> Path:
    """The home of the archive in a folder of its own."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(target, filter="data")
    return target / "home"


@dataclass(frozen=True)
class Upgraded:
    """The home after the days went on and the old ones were run again, and what it held before."""

    shop: Shop
    digests_before: Digests
    rows_before: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Upgraded:
    shop = Shop(open_workspace(unpacked(tmp_path_factory.mktemp("upgraded"))))
    before = shop.digests(), {table.name: rows_of(shop.workspace, table) for table in COMPARED}
    shop.run(NEXT, NEXT)
    shop.run(FIRST, LAST)
    return Upgraded(shop, *before)


def rows_of(workspace: Workspace, table: Table) -> list[dict[str, Any]]:
    """The rows of the two days that both versions ran, in order."""
    rows: list[dict[str, Any]] = workspace.lake.read(table, first_day=FIRST, last_day=LAST).to_pylist()
    return sorted(rows, key=lambda row: [str(row[name]) for name in ("day", "segment", *table.key)])


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shift_assets", *arguments, "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_table_of_the_old_version_is_one_of_todays(tmp_path: Path) -> None:
    """Guard of the fixture: the old version filled every table."""
    lake = unpacked(tmp_path) / "lake"
    assert {folder.name for folder in lake.iterdir()} == set(TABLES) - LATER_TABLES


def test_the_doctor_finds_no_fault(tmp_path: Path) -> None:
    assert [finding for finding in diagnose(unpacked(tmp_path)) if finding.level == "fault"] == []


def test_any_command_makes_the_dagster_instance_loadable_again(tmp_path: Path) -> None:
    """The old instance file names a class that moved: Dagster cannot load it until a command has opened the home."""
    home = unpacked(tmp_path)
    with pytest.raises(Exception, match=r"Couldn't import module shift_assets\.resources\.event_log"):
        dg.DagsterInstance.from_config(str(home / "dagster"))
    found = command(home, "quarantine", "ls")
    assert found.returncode == 0, found.stderr
    assert "rejected rows" in found.stdout
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert isinstance(instance.event_log_storage, PooledSqliteEventLogStorage)
        runs = instance.get_runs(dg.RunsFilter(job_name=DAILY))
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS]
        assert len(instance.get_materialized_partitions(dg.AssetKey("shift_alerts"))) == 4


def test_the_days_go_on_after_the_last_one_of_the_old_version(upgraded: Upgraded) -> None:
    """Every table of the daily run has its partitions of the next day; the days before are not computed again."""
    lake = upgraded.shop.workspace.lake
    for table in TABLES.values():
        if any(partition.day == LAST for partition in upgraded.digests_before[table.name]):
            assert {p.segment for p in lake.published(table) if p.day == NEXT} == set(upgraded.shop.segments), table


def test_the_days_of_the_old_version_have_the_same_content_when_they_are_run_again(upgraded: Upgraded) -> None:
    """Every partition of every table: a new version makes the same rows of the same log."""
    found = changed(upgraded.digests_before, upgraded.shop.digests(last=LAST))
    assert found.keys() <= MEANT_TO_DIFFER | LATER_TABLES
    before, workspace = upgraded.rows_before, upgraded.shop.workspace
    for table in (INTEREST_STATE, SHIFT_SIGNALS):
        assert without_p_values(rows_of(workspace, table)) == without_p_values(before[table.name])
    predictions = rows_of(workspace, MODEL_PREDICTIONS)
    assert [rounded(row) for row in predictions] == [rounded(row) for row in before[MODEL_PREDICTIONS.name]]
    known = {row["expectation"] for row in before[QUALITY_VERDICTS.name]}
    results = [row for row in rows_of(workspace, QUALITY_VERDICTS) if row["expectation"] in known]
    assert [{**row, "data_version": ""} for row in results] == [
        {**row, "data_version": ""} for row in before[QUALITY_VERDICTS.name]
    ]


def without_p_values(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what version 0.1.0 computed from shuffled days."""
    return [{name: value for name, value in row.items() if name not in ("p_value", "q_value")} for row in rows]


def rounded(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """The row with numbers that compare as equal up to single precision."""
    shares = {each["category"]: pytest.approx(each["share"], rel=1e-5) for each in prediction["categories"]}
    numbers = {name: value for name, value in prediction.items() if isinstance(value, float)}
    return {
        **prediction,
        **{name: pytest.approx(value, rel=1e-5) for name, value in numbers.items()},
        "categories": shares,
    }


def test_the_old_models_load_and_are_trained_to_the_same_weights(upgraded: Upgraded) -> None:
    """Rows of the registry differ by the revision of the code; a metric differs by less than its rounding."""
    workspace, before = upgraded.shop.workspace, upgraded.rows_before[MODEL_REGISTRY.name]
    for row in before:
        assert load(workspace.settings.models / row["path"], row["digest"]).version == row["version"]
    assert [without_revision(row) for row in rows_of(workspace, MODEL_REGISTRY)] == [
        without_revision(row) for row in before
    ]


def without_revision(row: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {metric["name"]: pytest.approx(metric["value"], rel=1e-12) for metric in row["metrics"]}
    return {**row, "revision": None, "metrics": metrics}
