"""Laws of the quality verdicts and of the gate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shift_assets.contracts import (
    CLEAN_EVENTS,
    INTEREST_SERIES,
    QUALITY_VERDICTS,
    RECOMMENDATIONS,
    SHIFT_ALERTS,
    TABLES,
    Partition,
)
from shift_assets.quality import suites
from shift_assets.quality.facts import CleaningFacts
from shift_assets.quality.gate import GateClosed, require_passed
from shift_assets.quality.judge import judge, judge_freshness
from shift_assets.quality.profile import profile
from shift_assets.tables import Column, ContractError, Table

DAY = date(2026, 6, 10)
PARTITION = Partition(DAY, "uk")
OTHER = Partition(DAY + timedelta(days=1), "rest")
JUDGED = sorted(set(TABLES) - {"quality_verdicts"})


def good_value(column: Column, number: int) -> Any:  # noqa: PLR0911
    """A value that keeps the column's contract; differs by `number` where it can."""
    if column.allowed:
        return column.allowed[0]
    if column.pattern:
        return f"{number:0{64 if '64' in column.pattern else 32}x}"
    if pa.types.is_string(column.type):
        return f"value {number}"
    if pa.types.is_date(column.type):
        return DAY
    if pa.types.is_timestamp(column.type):
        return datetime(2026, 6, 10, 12, 0, number, tzinfo=UTC)
    if pa.types.is_floating(column.type):
        return 0.5 if column.maximum else 1.0
    if pa.types.is_integer(column.type):
        return number + 1
    if pa.types.is_boolean(column.type):
        return True
    return b"raw" if pa.types.is_binary(column.type) else []


def good_rows(table: Table, count: int = 3, partition: Partition = PARTITION) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        row = {column.name: good_value(column, number) for column in table.own_columns}
        rows.append({"day": partition.day, "segment": partition.segment, **row})
    return rows


def arrow(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema([field.with_nullable(True) for field in table.schema]))


def facts_for(table: Table, rows: list[dict[str, Any]], **changes: Any) -> CleaningFacts | None:
    counts: dict[Partition, int] = {}
    for row in rows:
        partition = Partition(row["day"], row["segment"])
        counts[partition] = counts.get(partition, 0) + 1
    known: dict[str, Any] = {"delivered": counts, "rejected": {}, **changes}
    return CleaningFacts(**known) if table is CLEAN_EVENTS else None


def broken_promises(table: Table, rows: list[dict[str, Any]], **changes: Any) -> dict[str, str]:
    """Failed expectation: what was observed. By the profile alone: Great Expectations judges it elsewhere here."""
    suite = suites.expectations(table, timezone="Europe/London")
    frame = profile(table, arrow(table, rows), [PARTITION], suite, facts_for(table, rows, **changes))
    line = frame.iloc[0]
    return {e.name: line[f"observed: {e.name}"] for e in suite if line[e.name] > 0}


def verdicts_of(
    table: Table, rows: list[dict[str, Any]], versions: Mapping[Partition, str], **changes: Any
) -> pa.Table:
    facts = facts_for(table, rows, **changes)
    return judge(table, arrow(table, rows), list(versions), versions, timezone="Europe/London", facts=facts)


@pytest.mark.parametrize("name", JUDGED)
def test_good_rows_keep_every_promise(name: str) -> None:
    assert broken_promises(TABLES[name], good_rows(TABLES[name])) == {}


@pytest.mark.parametrize("name", JUDGED)
def test_promises_are_sentences_of_their_own(name: str) -> None:
    names = [expectation.name for expectation in suites.expectations(TABLES[name])]
    assert len(set(names)) == len(names) <= 16
    assert [e.name for e in suites.expectations(TABLES[name], timezone="Asia/Shanghai")] == names


def broken_by_column(table: Table, columns: list[Column], bad: Callable[[Column], Any]) -> dict[str, dict[str, str]]:
    """What each column breaks when one of three rows holds `bad(column)`; a partition per column, one pass."""
    rows, partitions = [], {}
    for number, column in enumerate(columns):
        partition = Partition(DAY, f"segment-{number}")
        mine = good_rows(table, partition=partition)
        mine[1][column.name] = bad(column)
        rows += mine
        partitions[partition] = column.name
    suite = [e for e in suites.expectations(table, timezone="Europe/London") if not isinstance(e, suites.FactHolds)]
    frame = profile(table, arrow(table, rows), list(partitions), suite)
    return {
        partitions[Partition(DAY, line["segment"])]: {
            e.name: line[f"observed: {e.name}"] for e in suite if line[e.name]
        }
        for line in frame.to_dict("records")
    }


@pytest.mark.parametrize("name", JUDGED)
def test_a_null_breaks_exactly_one_promise_and_is_named(name: str) -> None:
    required = [column for column in TABLES[name].own_columns if not column.nullable]
    broken = broken_by_column(TABLES[name], required, lambda column: None)
    for column in required:
        cause = f": {column.name}" if len(required) > 1 else ""
        assert broken[column.name] == {"no null where none may be": f"1 of 3 rows{cause}"}


@pytest.mark.parametrize("name", JUDGED)
def test_a_value_out_of_bounds_breaks_exactly_the_promise_about_its_column(name: str) -> None:
    def out_of_bounds(column: Column) -> Any:
        if column.allowed or column.pattern:
            return "ABC"
        return column.maximum + 1 if column.maximum is not None else -2

    def is_bounded(column: Column) -> bool:
        return bool(column.allowed or column.pattern) or (column.minimum, column.maximum) != (None, None)

    bounded = [column for column in TABLES[name].own_columns if is_bounded(column)]
    for column, broken in broken_by_column(TABLES[name], bounded, out_of_bounds).items():
        ((promise, observed),) = broken.items()
        assert promise.startswith(column) or observed == f"1 of 3 rows: {column}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_found(value: float) -> None:
    rows = good_rows(INTEREST_SERIES)
    rows[0]["score"] = value
    assert broken_promises(INTEREST_SERIES, rows) == {"every number is finite": "1 of 3 rows: score"}


@pytest.mark.parametrize("name", [name for name in JUDGED if set(TABLES[name].key) - {"day", "segment"}])
def test_a_key_that_occurs_twice_is_found(name: str) -> None:
    table = TABLES[name]
    rows = good_rows(table)
    rows[2] |= {key: rows[0][key] for key in table.key}
    broken = broken_promises(table, rows)
    assert list(broken.values()) == ["1 of 3 rows"]
    assert "occurs twice" in next(iter(broken))


def test_the_same_key_in_two_partitions_is_no_repetition() -> None:
    rows = good_rows(INTEREST_SERIES) + good_rows(INTEREST_SERIES, partition=OTHER)
    suite = suites.expectations(INTEREST_SERIES)
    frame = profile(INTEREST_SERIES, arrow(INTEREST_SERIES, rows), [PARTITION, OTHER], suite)
    assert frame[[e.name for e in suite]].to_numpy().sum() == 0


@pytest.mark.parametrize(
    ("table", "change", "promise"),
    [
        (SHIFT_ALERTS, {"onset_day": DAY + timedelta(days=1)}, "onset_day is not after the day"),
        (
            TABLES["interest_state"],
            {"last_active_day": DAY + timedelta(days=1)},
            "last_active_day is not after the day",
        ),
        (RECOMMENDATIONS, {"user_id": f"{1:032x}", "item_id": "value 1"}, "no item stands twice in a user's list"),
        (
            INTEREST_SERIES,
            {column.name: 0 for column in INTEREST_SERIES.own_columns if column.name.startswith("n_")},
            "a row stands for at least one event",
        ),
    ],
)
def test_what_only_one_table_promises(table: Table, change: dict[str, Any], promise: str) -> None:
    rows = good_rows(table)
    rows[0] |= change
    assert list(broken_promises(table, rows)) == [promise]


@pytest.mark.parametrize(("hour_utc", "belongs"), [(22, True), (23, False)])
def test_an_event_belongs_to_the_shops_local_day(hour_utc: int, belongs: bool) -> None:
    rows = good_rows(CLEAN_EVENTS)
    rows[0]["event_ts"] = datetime(2026, 6, 10, hour_utc, 30, tzinfo=UTC)  # 23:30 and, next day, 00:30 in London
    expected = {} if belongs else {"event_ts lies on the partition's local day": "1 of 3 rows"}
    assert broken_promises(CLEAN_EVENTS, rows) == expected


@pytest.mark.parametrize("delivered", [2, 4, 0])
def test_a_row_that_is_neither_clean_nor_rejected_is_missed(delivered: int) -> None:
    broken = broken_promises(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), delivered={PARTITION: delivered})
    assert broken == {suites.ACCOUNTING: f"{delivered} delivered, 3 clean, 0 rejected"}


def test_many_rejected_rows_are_a_warning() -> None:
    facts = {"delivered": {PARTITION: 4}, "rejected": {PARTITION: 1}}
    assert broken_promises(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), **facts) == {suites.REJECTED_SHARE: "25.0% of 4 rows"}


@pytest.mark.parametrize(
    ("weeks", "usual"),
    [((40, 44, 38), True), ((40, 44, 38, 41), False), ((4, 6, 3, 5, 4), True), ((0, 0, 0, 0, 40), True)],
)
def test_volume_is_compared_with_the_same_weekdays_when_four_of_them_had_rows(
    weeks: tuple[int, ...], usual: bool
) -> None:
    before = {Partition(DAY - timedelta(weeks=k + 1), "uk"): rows for k, rows in enumerate(weeks)}
    broken = broken_promises(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), rows_before=before)
    assert (list(broken) == []) is usual
    if not usual:
        assert broken == {suites.VOLUME: "3 rows, median of 4 same weekdays before 40"}


def test_a_range_is_compared_with_its_own_earlier_weeks() -> None:
    days = [DAY + timedelta(weeks=k) for k in range(6)]
    rows = [
        row for k, day in enumerate(days) for row in good_rows(CLEAN_EVENTS, 40 if k < 5 else 2, Partition(day, "uk"))
    ]
    suite = suites.expectations(CLEAN_EVENTS)
    frame = profile(
        CLEAN_EVENTS,
        arrow(CLEAN_EVENTS, rows),
        [Partition(day, "uk") for day in days],
        suite,
        facts_for(CLEAN_EVENTS, rows),
    )
    assert (frame[suites.VOLUME] > 0).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(("days_before", "found"), [(1, 1), (90, 1), (91, 0), (-1, 0), (0, 0)])
def test_a_user_seen_in_another_segment_within_the_look_back_is_found(days_before: int, found: int) -> None:
    rows = good_rows(CLEAN_EVENTS)
    before = pa.table(
        {
            "day": [DAY - timedelta(days=days_before)] * 2,
            "segment": ["rest", "uk"],
            "user_id": [rows[0]["user_id"], rows[1]["user_id"]],
        }
    )
    broken = broken_promises(CLEAN_EVENTS, rows, users_before=before)
    assert broken == ({suites.SEGMENT_STABLE: "1 users"} if found else {})


def test_great_expectations_names_the_partition_and_the_promise_that_failed() -> None:
    rows = good_rows(CLEAN_EVENTS) + good_rows(CLEAN_EVENTS, 2, OTHER)
    for row in rows[3:]:
        row["event_ts"] += timedelta(days=1)
        row["user_id"] = row["user_id"].replace("0", "f")
    rows[4]["behavior"] = "teleport"
    empty = Partition(DAY, "empty")
    versions = {PARTITION: "a", OTHER: "b", empty: "c"}
    verdicts = verdicts_of(CLEAN_EVENTS, rows, versions)
    assert QUALITY_VERDICTS.conform(verdicts).equals(verdicts)
    assert verdicts.num_rows == 3 * len(suites.expectations(CLEAN_EVENTS))
    failed = verdicts.filter(pc.invert(verdicts["passed"])).to_pylist()
    assert failed == [
        {
            "day": OTHER.day,
            "segment": "rest",
            "table_name": "clean_events",
            "data_version": "b",
            "expectation": "behavior is one of view, click, favorite, cart, purchase, return, rating, review",
            "severity": "ERROR",
            "passed": False,
            "observed": "1 of 2 rows",
        }
    ]
    of_empty = verdicts.filter(pc.equal(verdicts["segment"], "empty"))
    assert "no rows" in of_empty["observed"].to_pylist()
    require_passed(verdicts, CLEAN_EVENTS, {PARTITION: "a", empty: "c"})
    with pytest.raises(
        GateClosed, match=r"clean_events, partition 2026-06-11\|rest: failed “behavior is one of .* 1 of 2 rows"
    ):
        require_passed(verdicts, CLEAN_EVENTS, versions)


def test_a_warning_does_not_close_the_gate() -> None:
    facts = {"delivered": {PARTITION: 4}, "rejected": {PARTITION: 1}}
    verdicts = verdicts_of(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), {PARTITION: "a"}, **facts)
    assert not all(verdicts["passed"].to_pylist())
    require_passed(verdicts, CLEAN_EVENTS, {PARTITION: "a"})


def test_the_gate_is_closed_without_a_verdict_on_this_very_content() -> None:
    verdicts = verdicts_of(INTEREST_SERIES, good_rows(INTEREST_SERIES), {PARTITION: "a"})
    with pytest.raises(
        GateClosed, match=r"2026-06-11\|rest: it was never checked; .*--from 2026-06-11 --to 2026-06-11"
    ):
        require_passed(verdicts, INTEREST_SERIES, {PARTITION: "a", OTHER: "b"})
    with pytest.raises(GateClosed, match="its content changed after it was checked"):
        require_passed(verdicts, INTEREST_SERIES, {PARTITION: "new"})
    with pytest.raises(GateClosed, match=r"clean_events, partition .* never checked"):
        require_passed(verdicts, CLEAN_EVENTS, {PARTITION: "a"})


def test_files_and_rows_are_judged_alike(tmp_path: Path) -> None:
    rows = good_rows(INTEREST_SERIES) + good_rows(INTEREST_SERIES, 2, OTHER)
    rows[0]["user_id"] = "who?"
    files = {}
    for partition, mine in itertools.groupby(rows, key=lambda row: Partition(row["day"], row["segment"])):
        files[partition] = tmp_path / f"day={partition.day}" / f"segment={partition.segment}" / "part.parquet"
        files[partition].parent.mkdir(parents=True)
        pq.write_table(arrow(INTEREST_SERIES, list(mine)).drop_columns(["day", "segment"]), files[partition])
    suite = suites.expectations(INTEREST_SERIES)
    from_files = profile(INTEREST_SERIES, files, list(files), suite)
    from_rows = profile(INTEREST_SERIES, arrow(INTEREST_SERIES, rows), list(files), suite)
    assert from_files.equals(from_rows)
    assert from_files["user_id is a pseudonym of 32 hex characters"].tolist() == [1.0, 0.0]


def test_what_cannot_be_judged_is_refused_with_its_name() -> None:
    rows = arrow(INTEREST_SERIES, good_rows(INTEREST_SERIES))
    with pytest.raises(ContractError, match=r"no content digest for 2026-06-10\|uk"):
        judge(INTEREST_SERIES, rows, [PARTITION], {})
    with pytest.raises(ContractError, match=r"not asked for: 2026-06-10\|uk"):
        judge(INTEREST_SERIES, rows, [OTHER], {OTHER: "b"})
    with pytest.raises(ContractError, match="missing columns"):
        judge(INTEREST_SERIES, rows.drop_columns(["score"]), [PARTITION], {PARTITION: "a"})
    with pytest.raises(ContractError, match="CleaningFacts"):
        judge(CLEAN_EVENTS, CLEAN_EVENTS.empty(), [PARTITION], {PARTITION: "a"})
    assert judge(INTEREST_SERIES, rows, [], {}).num_rows == 0


def test_a_day_is_fresh_when_every_segment_stands() -> None:
    verdicts = judge_freshness(CLEAN_EVENTS, {PARTITION: "a"}, DAY, ["uk", "rest"])
    assert QUALITY_VERDICTS.conform(verdicts).equals(verdicts)
    assert verdicts["segment"].to_pylist() == ["rest", "uk"]
    assert verdicts["passed"].to_pylist() == [False, True]
    assert verdicts["observed"].to_pylist() == ["never materialised", "stands"]
