from __future__ import annotations

import gc
import hashlib
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.sql_text import read_sql
from shift_assets.ingest.categories.category_timeline import CategoryTimeline
from shift_assets.ingest.cleaning import chunk_plan, set_logic
from shift_assets.ingest.cleaning.accounts import AccountingError
from shift_assets.ingest.cleaning.clean import clean
from shift_assets.ingest.cleaning.engines import embedded
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parser import FileTally
from shift_assets.settings.root import Settings
from shift_assets_tests.ingest.cleaned_landing import DELIVERED, Cleaned, cleaned
from shift_assets_tests.ingest.dirty_data import (
    DAY,
    JSON_SOURCE,
    NOON,
    context_of,
    days_before,
    deliver,
    dirty_landing,
    good_line,
    source_of,
)

pytestmark = pytest.mark.slow

DAYS = days_before(DAY, 6)


@pytest.fixture
def context(tmp_path: Path) -> ParseContext:
    return context_of(tmp_path / "landing", source_of(tmp_path / "landing", JSON_SOURCE))


def lines(*events: bytes) -> bytes:
    return b"\n".join(events) + b"\n"


def at(second: int, **changes: object) -> bytes:
    """A valid event so many seconds after NOON of DAY."""
    return good_line(t=NOON + second, **changes)


def of_partition(rows: pa.Table, partition: Partition) -> list[dict]:
    return [row for row in rows.to_pylist() if (row["day"], row["segment"]) == partition]


def test_every_delivered_row_is_clean_or_rejected(context: ParseContext) -> None:
    """Of every file of a dirty landing, rows read = clean + rejected + rows of partitions not requested."""
    files = dirty_landing(context.landing, 1, DAYS)
    done = cleaned(context, DAYS)
    assert [account.path for account in done.file_accounts] == sorted(file.path for file in files)
    for account in done.file_accounts:
        assert account.rows == account.clean + sum(account.rejected.values()) + account.not_requested
        assert account.sha256 == hashlib.sha256((context.landing / account.path).read_bytes()).hexdigest()
    assert sum(account.clean for account in done.file_accounts) == done.clean.num_rows > 300
    rejected = Counter(done.rejected["reason"].to_pylist())
    assert rejected == sum((Counter(account.rejected) for account in done.file_accounts), Counter())
    assert {"duplicate", "wrong_day", "malformed", "unreadable_file"} <= set(rejected)


def test_what_comes_out_keeps_the_contracts(context: ParseContext) -> None:
    """Clean and rejected rows have the contracts' columns, are in the requested partitions, and are sorted by key."""
    dirty_landing(context.landing, 2, DAYS)
    done = cleaned(context, DAYS)
    assert done.clean.schema == CLEAN_EVENTS.schema
    assert done.rejected.schema == REJECTED_EVENTS.schema
    assert done.partitions == [Partition(day, key) for day in DAYS for key in sorted(context.source.segment_keys)]
    for rows, key in ((done.clean, "event_id"), (done.rejected, "source_row")):
        assert {(row["day"], row["segment"]) for row in rows.to_pylist()} <= set(done.partitions)
        own = ["event_id"] if key == "event_id" else ["source_file", "source_row"]
        order = [tuple(row[name] for name in ("day", "segment", *own)) for row in rows.to_pylist()]
        assert order == sorted(set(order))
    for row in done.rejected.to_pylist():
        if len(row["raw"]) < 64 * 1024 and row["reason"] != "unreadable_file":
            assert row["raw_sha256"] == hashlib.sha256(row["raw"]).hexdigest()


@pytest.mark.parametrize("requested", [DAYS[:1], DAYS[2:4], [DAYS[0], DAYS[5]], DAYS[::-1]])
def test_a_partition_does_not_depend_on_what_is_requested_with_it(context: ParseContext, requested: list[date]) -> None:
    """A partition cleaned alone, in a range, or in one segment only, holds the same rows."""
    dirty_landing(context.landing, 3, DAYS)
    everything = cleaned(context, DAYS)
    segment = context.source.segment_keys[1]
    for part in (cleaned(context, requested), cleaned(context, requested, segments=[segment])):
        assert {partition.day for partition in part.partitions} == set(requested)
        for partition in part.partitions:
            for mine, whole in ((part.clean, everything.clean), (part.rejected, everything.rejected)):
                assert of_partition(mine, partition) == of_partition(whole, partition)


def test_chunks_change_nothing_and_parse_each_file_once(context: ParseContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day per chunk gives the rows and accounts of one chunk, though each file is parsed only once."""
    dirty_landing(context.landing, 4, DAYS)
    at_once = cleaned(context, DAYS)
    parsed: list[str] = []
    real = embedded.parse_to_parquet

    def counted(context: ParseContext, file: SourceFile, target: Path) -> FileTally:
        parsed.append(file.path)
        return real(context, file, target)

    monkeypatch.setattr(embedded, "parse_to_parquet", counted)
    monkeypatch.setattr(chunk_plan, "CHUNK_BYTES", 1)
    assert len(chunk_plan.plan_chunks(context.landing, DAYS, 3)) == len(DAYS)
    assert cleaned(context, DAYS) == at_once
    assert sorted(parsed) == [account.path for account in at_once.file_accounts]


def test_children_parse_what_this_process_parses(context: ParseContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files large enough for a pool of processes give the same rows as files parsed here."""
    dirty_landing(context.landing, 5, DAYS[:2])
    here = cleaned(context, DAYS[:2])
    monkeypatch.setattr(embedded, "POOL_FROM_BYTES", 0)
    assert cleaned(context, DAYS[:2]) == here


def test_a_redelivered_file_changes_no_clean_row(context: ParseContext) -> None:
    """The same file under another name, on the day or within its lateness, only adds duplicates."""
    content = lines(at(1), at(2, item="i2"), at(3, user="bob"))
    deliver(context.landing, "b.jsonl", content)
    before = cleaned(context, [DAY])
    deliver(context.landing, "c.jsonl", content)
    deliver(context.landing, "a.jsonl", content, DAY + timedelta(days=3))
    after = cleaned(context, [DAY])
    assert after.clean == before.clean
    assert Counter(after.rejected["reason"].to_pylist()) == {"duplicate": 6}


def test_the_first_delivery_wins_and_the_later_ones_name_it(context: ParseContext) -> None:
    """Of one event the earliest folder, then file, then row is clean; the others say which event they repeat."""
    deliver(context.landing, "b.jsonl", lines(at(9), at(1), at(1)))
    deliver(context.landing, "a.jsonl", lines(at(1)), DAY + timedelta(days=1))
    done = cleaned(context, [DAY])
    assert done.outcomes() == {
        ("b.jsonl", 1): "clean",
        ("b.jsonl", 2): "clean",
        ("b.jsonl", 3): "duplicate",
        ("a.jsonl", 1): "duplicate",
    }
    event = next(row["event_id"] for row in done.clean.to_pylist() if row["source_row"] == 2)
    expected_detail = f"event {event} repeats events/day={DAY}/b.jsonl:2"
    assert done.rejected["detail"].to_pylist() == [expected_detail, expected_detail]


def test_a_late_event_lies_in_its_own_day(context: ParseContext) -> None:
    """An event delivered within the lateness belongs to the day it happened on; one day later it is wrong_day."""
    deliver(context.landing, "late.jsonl", lines(at(0)), DAY + timedelta(days=3))
    deliver(context.landing, "too-late.jsonl", lines(at(0)), DAY + timedelta(days=4))
    own, folder = cleaned(context, [DAY]), cleaned(context, [DAY + timedelta(days=4)])
    assert own.outcomes() == {("late.jsonl", 1): "clean"}
    assert folder.outcomes() == {("too-late.jsonl", 1): "wrong_day"}


def burst(context: ParseContext, **limits: int) -> Cleaned:
    """Five events of ann in one minute, twice the same among them, one of bob; an hour later one more of ann."""
    fast = [at(second) for second in (1, 2, 3, 4, 5)]
    deliver(context.landing, "a.jsonl", lines(*fast, fast[0], at(6, user="bob"), at(3600)))
    return cleaned(context, [DAY], bots={"events_per_minute": 300, "events_per_day": 20_000} | limits)


def test_a_burst_rejects_all_events_of_its_minute(context: ParseContext) -> None:
    """Above the limit per minute the whole minute of that user goes, duplicates counted before, others' stay."""
    assert "bot_burst" not in burst(context, events_per_minute=5).outcomes().values()
    done = burst(context, events_per_minute=4)
    expected = {("a.jsonl", row): "bot_burst" for row in (1, 2, 3, 4, 5)} | {("a.jsonl", 6): "duplicate"}
    assert done.outcomes() == expected | {("a.jsonl", 7): "clean", ("a.jsonl", 8): "clean"}
    expected_detail = {row["detail"] for row in done.rejected.to_pylist() if row["reason"] == "bot_burst"}
    assert expected_detail == {f"5 events of the user in the minute {DAY} 12:00 UTC, at most 4"}


def test_a_busy_day_rejects_all_events_of_the_day(context: ParseContext) -> None:
    """Above the limit per day the whole day of that user goes."""
    assert "bot_burst" not in burst(context, events_per_day=6).outcomes().values()
    done = burst(context, events_per_day=5)
    assert Counter(done.outcomes().values()) == {"bot_burst": 6, "duplicate": 1, "clean": 1}
    expected_detail = {row["detail"] for row in done.rejected.to_pylist() if row["reason"] == "bot_burst"}
    assert expected_detail == {f"6 events of the user on {DAY}, at most 5"}


def test_days_without_a_file_are_empty_partitions(context: ParseContext) -> None:
    """Without source files the partitions exist, without rows."""
    done = cleaned(context, DAYS[:2])
    assert len(done.partitions) == 6
    assert done.clean.num_rows == done.rejected.num_rows == len(done.file_accounts) == 0
    assert cleaned(context, []).partitions == []


def test_lost_rows_fail_the_run_by_name(context: ParseContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the set logic drop a row, nothing is handed over, and the error names the file and its counts."""
    deliver(context.landing, "a.jsonl", lines(at(1), at(2)))
    real = read_sql
    monkeypatch.setattr(
        set_logic, "read_sql", lambda name: real(name) + ("limit 1" if name == "clean/clean.sql" else "")
    )
    with pytest.raises(AccountingError, match=r"a\.jsonl.* 2 rows delivered, but 1 clean \+ 0 rejected"):
        cleaned(context, [DAY])


def test_nothing_is_left_in_staging(context: ParseContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in progress is removed after success, after failure, and when the reader of chunks stops early."""
    dirty_landing(context.landing, 6, DAYS)
    monkeypatch.setattr(chunk_plan, "CHUNK_BYTES", 1)
    staging = context.landing.parent / "stag ing"
    cleaned(context, DAYS)
    assert list(staging.iterdir()) == []
    chunks = clean(
        context,
        DAYS,
        context.source.segment_keys,
        bots=Settings().bots,
        categories=CategoryTimeline(DELIVERED, DAYS[0]),
        engine="embedded",
        spark_remote="local[*]",
        staging=staging,
    )
    next(chunks)
    assert len(list(staging.iterdir())) == 1
    del chunks
    gc.collect()
    assert list(staging.iterdir()) == []
    monkeypatch.setattr(embedded, "parse_to_parquet", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cleaned(context, DAYS)
    assert list(staging.iterdir()) == []
