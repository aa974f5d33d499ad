"""Laws of the export: the rows of the period, whole, in a form that others read."""

from __future__ import annotations

import base64
import csv
import json
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.errors import UserError
from shift_assets.storage.lake import Lake, content_digests
from shift_assets.workspace.export import Format, export
from shift_assets_tests.lakes import fill, new_lake, partitions

FIRST, LAST = date(2026, 3, 1), date(2026, 3, 2)
NAMES = ("shift_alerts", "rejected_events", "clean_events")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = new_lake(tmp_path)
    fill(made, partitions(3), rows=8, tables=NAMES)
    return made


@pytest.mark.parametrize("form", ["duckdb", "parquet"])
def test_an_export_holds_the_rows_of_the_period(lake: Lake, tmp_path: Path, form: Format) -> None:
    target = tmp_path / "out"
    exported = export(lake, FIRST, LAST, target, NAMES, form=form)
    for name in NAMES:
        truth = lake.read(TABLES[name], first_day=FIRST, last_day=LAST)
        if form == "duckdb":
            connection = duckdb.connect(str(target), read_only=True)
            found = connection.table(name).to_arrow_table()
            connection.close()
        else:
            found = pq.ParquetFile(target / f"{name}.parquet").read()
        assert exported.rows[name] == truth.num_rows
        assert content_digests(TABLES[name].conform(found)) == content_digests(truth)


def test_csv_holds_nested_columns_as_json(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "out"
    export(lake, FIRST, LAST, target, NAMES, form="csv", segments=["uk"])
    truth = {
        (row["day"], row["alert_id"]): row
        for row in lake.read(SHIFT_ALERTS, first_day=FIRST, last_day=LAST, segments=["uk"]).to_pylist()
    }
    with (target / "shift_alerts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(truth)
    for row in rows:
        assert json.loads(row["rising"]) == truth[date.fromisoformat(row["day"]), row["alert_id"]]["rising"]


def test_csv_times_are_utc_and_bytes_are_base64(lake: Lake, tmp_path: Path) -> None:
    export(lake, FIRST, LAST, tmp_path / "out", NAMES, form="csv")
    for name, column, decoded in (
        ("clean_events", "event_ts", datetime.fromisoformat),
        ("rejected_events", "raw", base64.b64decode),
    ):
        with (tmp_path / "out" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            found = sorted(decoded(row[column]) for row in csv.DictReader(file))
        assert found == sorted(lake.read(TABLES[name], last_day=LAST)[column].to_pylist())


def test_an_export_never_overwrites_unasked(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "out.duckdb"
    export(lake, FIRST, LAST, target, NAMES)
    before = target.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        export(lake, FIRST, FIRST, target, NAMES)
    assert target.read_bytes() == before
    again = export(lake, FIRST, FIRST, target, NAMES, overwrite=True)
    assert again.rows["shift_alerts"] < export(lake, FIRST, LAST, tmp_path / "two", NAMES).rows["shift_alerts"]
    export(lake, FIRST, FIRST, target, NAMES, form="csv", overwrite=True)
    export(lake, FIRST, FIRST, target, NAMES, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fence.sqlite", "lake", "out.duckdb", "two"]


def test_a_table_without_rows_is_exported_empty(tmp_path: Path) -> None:
    exported = export(new_lake(tmp_path), FIRST, LAST, tmp_path / "out.duckdb", ["recommendations"])
    assert exported.rows == {"recommendations": 0}


def test_mistakes_are_named(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown tables orders; known: clean_events"):
        export(lake, FIRST, LAST, tmp_path / "out", ["orders"])
    with pytest.raises(UserError, match="is not a folder"):
        export(lake, FIRST, LAST, tmp_path / "no" / "out", ["shift_alerts"])
