"""Laws of erasure: afterwards no byte of the lake names the user, and everybody else is as before."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.models import MODEL_REGISTRY
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.serving import ALERT_OUTBOX
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, SHIFT_ALERTS
from shift_assets.ingest.source.shipped import load_source
from shift_assets.privacy.erase import AUDIT_FILE, erase
from shift_assets.privacy.erased_users import ERASED_FILE, erased_pseudonyms
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.settings.root import load_settings
from shift_assets.storage.fence import FencedOut
from shift_assets.storage.lake import Lake
from shift_assets.workspace.erase import erase_user
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests import lakes
from shift_assets_tests.lakes import fill, new_lake, partitions, rows_of

pytestmark = pytest.mark.slow

RAW_ID = "zoë-17"
USER = lakes.pseudonym("user", "uk", 3)
"""A user whom `fill` puts into about every table of segment uk."""
CHECK_DAYS = 2
RAWS = {
    b'{"user":"zo\xc3\xab-17","item":""}': True,
    b'{"user":"zo\\u00eb-17","item":""}': True,
    "zoe\u0308-17,item,view".encode(): True,
    b'{"user":"zo\xc3\xab-170","item":""}': False,
    b"\xff\xfe nothing to read": False,
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = new_lake(tmp_path)
    fill(made, partitions(2), rows=30, tables=[name for name in TABLES if name != REJECTED_EVENTS.name])
    here = partitions(1)[0]
    rejected = rows_of(REJECTED_EVENTS, here, len(RAWS)).to_pylist()
    rows = [
        row | {"raw": raw, "source_row": 1000 + number}
        for number, (row, raw) in enumerate(zip(rejected, RAWS, strict=True))
    ]
    rejected_rows = pa.Table.from_pylist(rows, schema=REJECTED_EVENTS.schema)
    made.publish(REJECTED_EVENTS, rejected_rows, made.claim(REJECTED_EVENTS, [here], "test"))
    return made


def everything(lake: Lake) -> dict[str, pa.Table]:
    return {name: lake.read(table) for name, table in TABLES.items()}


def holds(folder: Path, needle: bytes) -> list[Path]:
    """Files of `folder` whose stored or decoded bytes hold `needle`."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                import pyarrow.parquet as pq

                content += repr(pq.ParquetFile(path).read().to_pylist()).encode()
            if needle in content:
                found.append(path)
    return found


def test_no_byte_of_the_lake_names_the_user(lake: Lake, tmp_path: Path) -> None:
    assert holds(lake.root, USER.encode())
    erasure = erase(lake, tmp_path / "privacy", [USER], [RAW_ID], check_days=CHECK_DAYS)
    assert holds(lake.root, USER.encode()) == []
    assert holds(lake.root, RAW_ID.encode()) == [lake.files(REJECTED_EVENTS)[partitions(1)[0]]]  # zoë-170
    assert {"clean_events", "interest_series", "shift_alerts", "recommendations"} <= set(erasure.rows)


def test_everybody_else_is_as_before(lake: Lake, tmp_path: Path) -> None:
    before = everything(lake)
    alerts = before["shift_alerts"].filter(pc.equal(before["shift_alerts"]["user_id"], USER))["alert_id"]
    erasure = erase(lake, tmp_path / "privacy", [USER], check_days=CHECK_DAYS)
    for name, rows in everything(lake).items():
        gone = 0
        if "user_id" in rows.column_names:
            kept = before[name].filter(pc.not_equal(before[name]["user_id"], USER))
            gone = before[name].num_rows - kept.num_rows
            order = [(key, "ascending") for key in ("day", "segment", *TABLES[name].key) if key != "day"]
            assert rows.sort_by(order).equals(kept.sort_by(order)), name
        elif name in (ALERT_OUTCOMES.name, ALERT_OUTBOX.name):
            gone = before[name].num_rows - rows.num_rows
            assert not pc.any(pc.is_in(rows["alert_id"], alerts)).as_py()
        elif name == REJECTED_EVENTS.name:
            assert set(map(str, before[name].to_pylist())) <= set(map(str, rows.to_pylist()))
        else:
            assert rows.equals(before[name]), name
        assert erasure.rows.get(name, 0) == gone


def test_rows_delivered_still_equal_rows_clean_and_rejected(lake: Lake, tmp_path: Path) -> None:
    """A clean event of the user becomes a rejected row, in the same partition, that only says that there was one."""
    events = lake.read(CLEAN_EVENTS)
    gone = events.filter(pc.equal(events["user_id"], USER)).select(["day", "segment", "source_file", "source_row"])
    before = lake.read(REJECTED_EVENTS).num_rows
    erase(lake, tmp_path / "privacy", [USER], check_days=CHECK_DAYS)
    rejected = lake.read(REJECTED_EVENTS)
    made = rejected.filter(pc.equal(rejected["detail"], "the user was erased on request"))
    assert rejected.num_rows == before + gone.num_rows
    assert {tuple(row.values()) for row in made.select(gone.column_names).to_pylist()} == {
        tuple(row.values()) for row in gone.to_pylist()
    }
    assert set(made["raw"].to_pylist()) == {b""}


def test_rejected_rows_of_the_user_are_emptied_and_stay(lake: Lake, tmp_path: Path) -> None:
    before = lake.read(REJECTED_EVENTS).to_pylist()
    erasure = erase(lake, tmp_path / "privacy", [USER], [RAW_ID], check_days=CHECK_DAYS)
    after = [row for row in lake.read(REJECTED_EVENTS).to_pylist() if row["detail"] != "the user was erased on request"]
    assert erasure.rows[REJECTED_EVENTS.name] == 3
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        if RAWS[old["raw"]]:
            assert (new["raw"], new["detail"], new["reason"]) == (b"", "erased", old["reason"])
        else:
            assert new == old


def test_erasing_again_changes_nothing(lake: Lake, tmp_path: Path) -> None:
    privacy = tmp_path / "privacy"
    erase(lake, privacy, [USER], [RAW_ID], check_days=CHECK_DAYS)
    before = {name: lake.published(table) for name, table in TABLES.items()}
    again = erase(lake, privacy, [USER], [RAW_ID], check_days=CHECK_DAYS)
    assert (again.rows, again.days, again.models) == ({}, (), ())
    assert {name: lake.published(table) for name, table in TABLES.items()} == before


def test_the_report_names_the_days_and_models_concerned(lake: Lake, tmp_path: Path) -> None:
    """For next-item models and fitted detectors; of four daily checks the last one covers no day of the user."""
    made = rows_of(DETECTOR_SELF_CHECK, partitions(1)[0], 1).to_pylist()[0]
    last = [partition for partition in partitions(4) if partition.segment == "uk"]
    checks = [made | {"day": p.day, "segment": "uk", "model_path": f"detector/{p.day}"} for p in last]
    lake.publish(
        DETECTOR_SELF_CHECK,
        pa.Table.from_pylist(checks, schema=DETECTOR_SELF_CHECK.schema),
        lake.claim(DETECTOR_SELF_CHECK, partitions(4), "test"),
    )
    events = lake.read(CLEAN_EVENTS)
    days = sorted(set(events.filter(pc.equal(events["user_id"], USER))["day"].to_pylist()))
    assert days == [last[0].day, last[1].day]
    models = {
        f"{model['model']}/{model['version']}"
        for model in lake.read(MODEL_REGISTRY).to_pylist()
        if any(model["window_start"] <= day <= model["window_end"] for day in days)
    }
    erasure = erase(lake, tmp_path / "privacy", [USER], check_days=CHECK_DAYS)
    assert erasure.days == tuple(days)
    assert set(erasure.models) == models | {f"detector/{partition.day}" for partition in last[:3]}


def test_the_erasure_list_and_the_audit_remember_without_the_raw_id(lake: Lake, tmp_path: Path) -> None:
    privacy, other = tmp_path / "privacy", lakes.pseudonym("somebody never seen")
    assert erased_pseudonyms(privacy) == frozenset()
    erase(lake, privacy, [USER], [RAW_ID], check_days=CHECK_DAYS)
    erase(lake, privacy, [other], check_days=CHECK_DAYS)
    assert erased_pseudonyms(privacy) == {USER, other}
    assert (privacy / ERASED_FILE).stat().st_mode & 0o777 == 0o600
    (line,) = (privacy / AUDIT_FILE).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["users"] == 1
    assert USER not in line
    assert RAW_ID not in line


def test_an_attempt_that_was_running_is_refused_and_its_files_go(lake: Lake, tmp_path: Path) -> None:
    here = partitions(1)
    claim = lake.claim(INTEREST_SERIES, here, "running")
    rows = pa.concat_tables([rows_of(INTEREST_SERIES, partition, 30, seed=7) for partition in here])
    left_over = lake.root / INTEREST_SERIES.name / "day=2026-03-01" / "segment=uk" / "left-over.parquet"
    left_over.write_bytes(USER.encode())
    erase(lake, tmp_path / "privacy", [USER], check_days=CHECK_DAYS)
    with pytest.raises(FencedOut):
        lake.publish(INTEREST_SERIES, rows, claim)
    assert not left_over.exists()


def test_a_whole_workspace_forgets_the_user(tmp_path: Path) -> None:
    workspace = Workspace(load_settings(tmp_path), load_source("userbehavior"))
    settings, made = workspace.settings, workspace.lake
    identity = pseudonym(load_key(settings.privacy), RAW_ID)
    for table in (INTEREST_SERIES, SHIFT_ALERTS):
        rows = rows_of(table, partitions(1)[0], 20).to_pylist()
        rows[0] |= {"user_id": identity}
        made.publish(
            table, pa.Table.from_pylist(rows, schema=table.schema), made.claim(table, partitions(1)[:1], "test")
        )
    from shift_assets.contracts.bi_files import ACTIVATION_FILE
    from shift_assets.storage.bi_generations import generations, publish
    from shift_assets.storage.warehouse import Warehouse

    warehouse = Warehouse(settings.bi / "warehouse.duckdb", settings.public.minimum_users)
    warehouse.load(made)
    publish(warehouse, settings.bi, 2)
    assert holds(settings.bi, identity.encode())
    erase_user(workspace, RAW_ID)
    assert holds(settings.bi, identity.encode()) == []
    assert holds(made.root, identity.encode()) == []
    assert generations(settings.bi, ACTIVATION_FILE) == {}
    assert (settings.bi / "bi_activation.duckdb").exists()
