"""Erase users from the lake, so that neither their rows nor the bytes of them remain.

Landing files are never changed; a list of erased pseudonyms (`erased.txt`) prevents cleaning from accepting the users
again. The row accounting still holds: a clean event of the users becomes a rejected row without content, and rejected
rows, which have no user id, are emptied where their raw bytes contain the raw id as a word. Aggregates of a day
include the users until the days are run again, and models until they are trained again: the report names both.
Nothing else should be running; a running attempt is fenced out and must be started again.
"""

from __future__ import annotations

import json
import logging
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
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, INTEREST_STATE, OPEN_ALERTS, SHIFT_ALERTS
from shift_assets.contracts.table import Table
from shift_assets.privacy.erased_users import ERASED_DETAIL, ERASED_REASON, NOTHING_SHA256, add_erased

_logger = logging.getLogger(__name__)

AUDIT_FILE = "erasures.jsonl"

_ALERT_TABLES = (ALERT_OUTBOX, ALERT_OUTCOMES)

_USER_TABLES = (
    *(table for table in TABLES.values() if "user_id" in table.schema.names and table is not CLEAN_EVENTS),
    CLEAN_EVENTS,
)
"""Clean events come last: until they are erased, a repeated erasure still finds the days of the users."""


class ErasableLake(Protocol):
    """The part of the lake that an erasure needs."""

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
    """What an erasure removed, without naming the users."""

    rows: dict[str, int]
    """Rows removed by table; for rejected_events, rows emptied."""
    days: tuple[date, ...]
    """Days that had events of the users: run them again to renew the aggregates."""
    models: tuple[str, ...]
    """Models (`name/version`) and detectors (their path) trained on such a day: train them again."""


def erase(
    lake: ErasableLake,
    privacy_folder: Path,
    pseudonyms: Collection[str],
    raw_ids: Collection[str] = (),
    *,
    check_days: int,
    other_models: Iterable[tuple[str, date, date]] = (),
) -> Erasure:
    """Remove users from every table of the lake. Repeating a call that was interrupted completes it.

    Args:
        lake: The lake.
        privacy_folder: Holds the list of erased users and the audit file.
        pseudonyms: The `user_id`s of the users.
        raw_ids: Their ids as in the source files; without them only pseudonyms are searched for in rejected rows.
        check_days: Days of the detectors' self-check window.
        other_models: Models that no table lists: name, first and last day of the training data.

    Returns:
        What was removed, and what must be run or trained again.

    Raises:
        FencedOut: Another attempt claimed a partition meanwhile; call it again.
    """
    started = time.monotonic()
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
    _logger.info(
        "erased %d users: %d rows of %d tables in %.1f s",
        len(users),
        sum(erasure.rows.values()),
        len(erasure.rows),
        time.monotonic() - started,
    )
    return erasure


def _partitions_with(lake: ErasableLake, table: Table, column: str, values: pa.Array) -> list[Partition]:
    """Return the partitions of `table` in which `column` contains one of `values`."""
    return [
        partition
        for partition, path in lake.files(table).items()
        if pc.any(pc.is_in(pq.ParquetFile(path).read(columns=[column])[column], values)).as_py()
    ]


def _alerts_of(lake: ErasableLake, users: pa.Array) -> pa.Array:
    """Return the ids of all alerts of the users."""
    alerts: set[str] = set()
    for table in (SHIFT_ALERTS, OPEN_ALERTS, INTEREST_STATE, RECOMMENDATIONS):
        for path in lake.files(table).values():
            rows = pq.ParquetFile(path).read(columns=["user_id", "alert_id"])
            alerts |= set(rows.filter(pc.is_in(rows["user_id"], users))["alert_id"].to_pylist())
    return pa.array(sorted(alerts - {None}), pa.string())


def _models_trained_on(
    lake: ErasableLake, days: Collection[date], check_days: int, others: Iterable[tuple[str, date, date]]
) -> tuple[str, ...]:
    """Return the models whose training window (of the registry, or of a detector's self-check) has one of `days`."""
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
    """Remove rows from `table`, and every file of its earlier versions; return the number of rows removed."""
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
    """Add a row without content to rejected_events for each clean event of the users; idempotent."""
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
        rejected = pa.Table.from_pylist([rows[row_key] for row_key in sorted(rows)], schema=REJECTED_EVENTS.schema)
        lake.publish(REJECTED_EVENTS, rejected, lake.claim(REJECTED_EVENTS, [partition], "erase"))


def _row_key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["source_file"], row["source_row"]


def _blank_rejections(lake: ErasableLake, pseudonyms: Collection[str], raw_ids: Collection[str]) -> int:
    """Empty the rejected rows that mention a user; return their number."""
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
    """Return a pattern that matches any of `ids` not adjacent to a letter or digit, as text or escaped as in JSON."""
    spellings = {
        spelling
        for raw_id in ids
        for normal in (raw_id, *(unicodedata.normalize(name, raw_id) for name in ("NFC", "NFD")))
        for spelling in (normal, json.dumps(normal)[1:-1], json.dumps(normal, ensure_ascii=False)[1:-1])
    }
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
    texts = b"|".join(re.escape(spelling.encode()) for spelling in longest_first)
    return re.compile(rb"(?<![0-9A-Za-z])(?:" + texts + rb")(?![0-9A-Za-z])")


def _rows(lake: ErasableLake, table: Table, partition: Partition) -> pa.Table:
    return lake.read(table, first_day=partition.day, last_day=partition.day, segments=[partition.segment])


def _fence_out(lake: ErasableLake, table: Table) -> float:
    """Supersede every running attempt at `table`; return the time (seconds since 1970)."""
    known = set(lake.published(table))
    for folder in (lake.root / table.name).glob("day=*/segment=*"):
        with suppress(ValueError):
            known.add(Partition(date.fromisoformat(folder.parent.name[4:]), folder.name[8:]))
    fenced_at = time.time()
    lake.claim(table, known, "erase")
    return fenced_at


def _delete_unreferenced_files(lake: ErasableLake, table: Table, fenced_at: float) -> None:
    """Delete the files that the newest version does not name, including those of attempts that never published."""
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
