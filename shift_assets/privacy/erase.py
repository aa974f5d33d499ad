"""Erasing users from the lake, so that neither their rows nor the bytes of them remain.

Landing files are never changed; a list of erased pseudonyms (`erased.txt`) keeps the cleaning from taking the
users in again. Rows delivered still equal rows clean and rejected: a clean event of the users becomes a rejected row
that only says that there was one, and rejected rows, which carry no user id, are emptied where their delivered bytes
hold the delivered id as a word. Aggregates
of a day keep the user's share until the days are run again, and models until they are trained again: the report
names both. Nothing else may be running; an attempt that is running is fenced out and must be started again.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.models import MODEL_REGISTRY
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.serving import ALERT_OUTBOX
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, INTEREST_STATE, SHIFT_ALERTS
from shift_assets.contracts.table import Table
from shift_assets.privacy.erased_users import ERASED_DETAIL, ERASED_REASON, NOTHING_SHA256, add_erased

AUDIT_FILE = "erasures.jsonl"


_ALERT_TABLES = (ALERT_OUTBOX, ALERT_OUTCOMES)


_USER_TABLES = (
    *(table for table in TABLES.values() if "user_id" in table.schema.names and table is not CLEAN_EVENTS),
    CLEAN_EVENTS,
)
"""Clean events last: until they are done, a killed erasure that is run again still finds the days of the user."""


class ErasableLake(Protocol):
    """What an erasure needs of the lake."""

    root: Path

    def published(self, table: Table) -> Mapping[Partition, Any]: ...
    def files(self, table: Table) -> Mapping[Partition, Path]: ...
    def read(
        self, table: Table, *, first_day: date | None, last_day: date | None, segments: Collection[str] | None
    ) -> pa.Table: ...
    def claim(self, table: Table, partitions: Iterable[Partition], holder: str) -> Any: ...
    def publish(self, table: Table, rows: pa.Table, claim: Any) -> Any: ...
    def vacuum(self, table: Table, retention_hours: int) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure removed, without naming whom."""

    rows: dict[str, int]
    """Rows removed, by table; of rejected_events: rows emptied."""
    days: tuple[date, ...]
    """Days that held events of the users: run them again to renew the aggregates."""
    models: tuple[str, ...]
    """Models (`name/version`) and detectors (their path) whose training data held such a day: train them again."""


def erase(
    lake: ErasableLake,
    privacy_folder: Path,
    pseudonyms: Collection[str],
    raw_ids: Collection[str] = (),
    *,
    check_days: int,
    other_models: Iterable[tuple[str, date, date]] = (),
) -> Erasure:
    """Removes the users from every table of `lake`; a second call removes what a killed first one left.

    `pseudonyms` are their `user_id`s; `raw_ids` are their ids as delivered, without which rejected rows are
    left alone; `check_days` is the window of the detectors' self-check; `other_models` are models that no table
    lists: name, first and last day of the training data. Raises FencedOut where another attempt claims a partition
    meanwhile; call it again then.
    """
    users = pa.array(sorted(pseudonyms), pa.string())
    add_erased(privacy_folder, pseudonyms)
    days = tuple(sorted({p.day for p in _partitions_with(lake, CLEAN_EVENTS, "user_id", users)}))
    models = _models_trained_on(lake, days, check_days, other_models)
    alerts = _alerts_of(lake, users)
    _replace_by_rejections(lake, users)
    rows = {REJECTED_EVENTS.name: _blank_rejections(lake, pseudonyms, raw_ids)}
    for table in _ALERT_TABLES:
        rows[table.name] = _remove(lake, table, "alert_id", alerts)
    for table in _USER_TABLES:
        rows[table.name] = _remove(lake, table, "user_id", users)
    erasure = Erasure({name: count for name, count in rows.items() if count}, days, models)
    if erasure.rows:
        _append_audit(privacy_folder, len(users), erasure)
    return erasure


def _partitions_with(lake: ErasableLake, table: Table, column: str, values: pa.Array) -> list[Partition]:
    """Partitions of `table` in which `column` holds one of `values`."""
    return [
        partition
        for partition, path in lake.files(table).items()
        if pc.any(pc.is_in(pq.ParquetFile(path).read(columns=[column])[column], values)).as_py()
    ]


def _alerts_of(lake: ErasableLake, users: pa.Array) -> pa.Array:
    found: set[str] = set()
    for table in (SHIFT_ALERTS, INTEREST_STATE, RECOMMENDATIONS):
        for path in lake.files(table).values():
            rows = pq.ParquetFile(path).read(columns=["user_id", "alert_id"])
            found |= set(rows.filter(pc.is_in(rows["user_id"], users))["alert_id"].to_pylist())
    return pa.array(sorted(found - {None}), pa.string())


def _models_trained_on(
    lake: ErasableLake, days: Collection[date], check_days: int, others: Iterable[tuple[str, date, date]]
) -> tuple[str, ...]:
    """Next-item models by the window that the registry tells, taught detectors by that of their self-check."""
    registry, checks = (
        lake.read(table, first_day=None, last_day=None, segments=None).to_pylist()
        for table in (MODEL_REGISTRY, DETECTOR_SELF_CHECK)
    )
    windows = [(f"{row['model']}/{row['version']}", row["window_start"], row["window_end"]) for row in registry] + [
        (row["model_path"], row["day"] - timedelta(days=check_days - 1), row["day"])
        for row in checks
        if row["model_path"] is not None
    ]
    windows += others
    return tuple(sorted({name for name, first, last in windows if any(first <= day <= last for day in days)}))


def _remove(lake: ErasableLake, table: Table, column: str, values: pa.Array) -> int:
    """Rows removed from `table`; the bytes of every earlier state of it go too."""
    fenced_at = _fence_out(lake, table)
    removed = 0
    for partition in _partitions_with(lake, table, column, values):
        rows = _rows(lake, table, partition)
        remaining = rows.filter(pc.invert(pc.fill_null(pc.is_in(rows[column], values), False)))
        lake.publish(table, remaining, lake.claim(table, [partition], "erase"))
        removed += rows.num_rows - remaining.num_rows
    _delete_unreferenced_files(lake, table, fenced_at)
    return removed


def _replace_by_rejections(lake: ErasableLake, users: pa.Array) -> None:
    """Puts a row without content into rejected_events for each clean event of the users; again changes nothing."""
    for partition in _partitions_with(lake, CLEAN_EVENTS, "user_id", users):
        events = _rows(lake, CLEAN_EVENTS, partition)
        events = events.filter(pc.is_in(events["user_id"], users)).to_pylist()
        rows = {_row_key(row): row for row in _rows(lake, REJECTED_EVENTS, partition).to_pylist()}
        for event in events:
            rows[_row_key(event)] = {
                **{name: event[name] for name in ("day", "segment", "source_file", "source_row")},
                "segment_known": False,
                "reason": ERASED_REASON,
                "detail": ERASED_DETAIL,
                "raw": b"",
                "raw_sha256": NOTHING_SHA256,
            }
        made = pa.Table.from_pylist([rows[row_key] for row_key in sorted(rows)], schema=REJECTED_EVENTS.schema)
        lake.publish(REJECTED_EVENTS, made, lake.claim(REJECTED_EVENTS, [partition], "erase"))


def _row_key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["source_file"], row["source_row"]


def _blank_rejections(lake: ErasableLake, pseudonyms: Collection[str], raw_ids: Collection[str]) -> int:
    fenced_at = _fence_out(lake, REJECTED_EVENTS)
    pattern = _word_pattern([*pseudonyms, *raw_ids])
    emptied = 0
    for partition, path in lake.files(REJECTED_EVENTS).items():
        texts = pq.ParquetFile(path).read(columns=["raw", "detail"]).to_pylist()
        if not any(_mentions_user(pattern, row) for row in texts):
            continue
        rows = _rows(lake, REJECTED_EVENTS, partition).to_pylist()
        matching = [row for row in rows if _mentions_user(pattern, row)]
        for row in matching:
            row |= {"raw": b"", "raw_sha256": NOTHING_SHA256, "detail": "erased"}
        claim = lake.claim(REJECTED_EVENTS, [partition], "erase")
        lake.publish(REJECTED_EVENTS, pa.Table.from_pylist(rows, schema=REJECTED_EVENTS.schema), claim)
        emptied += len(matching)
    _delete_unreferenced_files(lake, REJECTED_EVENTS, fenced_at)
    return emptied


def _mentions_user(pattern: re.Pattern[bytes], row: Mapping[str, Any]) -> bool:
    return bool(pattern.search(row["raw"]) or pattern.search(row["detail"].encode()))


def _word_pattern(ids: Iterable[str]) -> re.Pattern[bytes]:
    """Matches any of `ids` in delivered bytes where no letter or digit touches it, as text or escaped as in JSON."""
    forms = {
        form
        for delivered in ids
        for normal in (delivered, *(unicodedata.normalize(name, delivered) for name in ("NFC", "NFD")))
        for form in (normal, json.dumps(normal)[1:-1], json.dumps(normal, ensure_ascii=False)[1:-1])
    }
    texts = b"|".join(re.escape(form.encode()) for form in sorted(forms, key=lambda form: (-len(form), form)))
    return re.compile(rb"(?<![0-9A-Za-z])(?:" + texts + rb")(?![0-9A-Za-z])")


def _rows(lake: ErasableLake, table: Table, partition: Partition) -> pa.Table:
    return lake.read(table, first_day=partition.day, last_day=partition.day, segments=[partition.segment])


def _fence_out(lake: ErasableLake, table: Table) -> float:
    """Refuses every attempt at `table` that is under way; returns when (seconds since the epoch)."""
    known = set(lake.published(table))
    for folder in (lake.root / table.name).glob("day=*/segment=*"):
        with suppress(ValueError):
            known.add(Partition(date.fromisoformat(folder.parent.name[4:]), folder.name[8:]))
    fenced_at = time.time()
    lake.claim(table, known, "erase")
    return fenced_at


def _delete_unreferenced_files(lake: ErasableLake, table: Table, fenced_at: float) -> None:
    """Deletes the files that the newest version does not name, also those of attempts that never published."""
    lake.vacuum(table, retention_hours=0)
    named = set(lake.files(table).values())
    for path in (lake.root / table.name).glob("day=*/segment=*/*"):
        if path not in named and path.stat().st_mtime <= fenced_at:
            path.unlink()


def _append_audit(privacy_folder: Path, users: int, erasure: Erasure) -> None:
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "users": users,
        "rows": erasure.rows,
        "days": len(erasure.days),
        "models": erasure.models,
    }
    with (privacy_folder / AUDIT_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")
