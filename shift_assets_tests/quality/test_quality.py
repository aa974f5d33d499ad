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

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.contracts.table import Column, ContractError, Table
from shift_assets.quality import suites
from shift_assets.quality.facts import CleaningFacts
from shift_assets.quality.gate import GateClosed, require_passed
from shift_assets.quality.profile import profile
from shift_assets.quality.validation import validate_freshness, validate_partitions

DAY = date(2026, 6, 10)
PARTITION = Partition(DAY, "uk")
OTHER = Partition(DAY + timedelta(days=1), "rest")
VALIDATED_TABLES = sorted(set(TABLES) - {"quality_verdicts"})


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


def failed_expectations(table: Table, rows: list[dict[str, Any]], **changes: Any) -> dict[str, str]:
    """Failed expectation: what was observed. By the profile alone: Great Expectations judges it elsewhere here."""
    suite = suites.expectations(table, timezone="Europe/London")
    frame = profile(table, arrow(table, rows), [PARTITION], suite, facts_for(table, rows, **changes))
    line = frame.iloc[0]
    return {e.name: line[f"observed: {e.name}"] for e in suite if line[e.name] > 0}


def check_results_of(
    table: Table, rows: list[dict[str, Any]], versions: Mapping[Partition, str], **changes: Any
) -> pa.Table:
    facts = facts_for(table, rows, **changes)
    return validate_partitions(
        table, arrow(table, rows), list(versions), versions, timezone="Europe/London", facts=facts
    )


@pytest.mark.parametrize("name", VALIDATED_TABLES)
def test_good_rows_pass_every_expectation(name: str) -> None:
    assert failed_expectations(TABLES[name], good_rows(TABLES[name])) == {}


@pytest.mark.parametrize("name", VALIDATED_TABLES)
def test_expectation_names_are_distinct(name: str) -> None:
    names = [expectation.name for expectation in suites.expectations(TABLES[name])]
    assert len(set(names)) == len(names) <= 16
    assert [e.name for e in suites.expectations(TABLES[name], timezone="Asia/Shanghai")] == names


def broken_by_column(table: Table, columns: list[Column], bad: Callable[[Column], Any]) -> dict[str, dict[str, str]]:
    """What each column breaks when one of three rows holds `bad(column)`; a partition per column, one pass."""
    rows, partitions = [], {}
    for number, column in enumerate(columns):
        partition = Partition(DAY, f"segment-{number}")
        own_rows = good_rows(table, partition=partition)
        own_rows[1][column.name] = bad(column)
        rows += own_rows
        partitions[partition] = column.name
    suite = [e for e in suites.expectations(table, timezone="Europe/London") if not isinstance(e, suites.FactHolds)]
    frame = profile(table, arrow(table, rows), list(partitions), suite)
    return {
        partitions[Partition(DAY, line["segment"])]: {
            e.name: line[f"observed: {e.name}"] for e in suite if line[e.name]
        }
        for line in frame.to_dict("records")
    }


@pytest.mark.parametrize("name", VALIDATED_TABLES)
def test_a_null_fails_exactly_one_expectation_and_is_named(name: str) -> None:
    required = [column for column in TABLES[name].own_columns if not column.nullable]
    broken = broken_by_column(TABLES[name], required, lambda column: None)
    for column in required:
        cause = f": {column.name}" if len(required) > 1 else ""
        assert broken[column.name] == {"no null where none may be": f"1 of 3 rows{cause}"}


@pytest.mark.parametrize("name", VALIDATED_TABLES)
def test_a_value_out_of_bounds_fails_exactly_the_expectation_of_its_column(name: str) -> None:
    def out_of_bounds(column: Column) -> Any:
        if column.allowed or column.pattern:
            return "ABC"
        return column.maximum + 1 if column.maximum is not None else -2

    def is_bounded(column: Column) -> bool:
        return bool(column.allowed or column.pattern) or (column.minimum, column.maximum) != (None, None)

    bounded = [column for column in TABLES[name].own_columns if is_bounded(column)]
    for column, broken in broken_by_column(TABLES[name], bounded, out_of_bounds).items():
        ((failed_expectation, observed),) = broken.items()
        assert failed_expectation.startswith(column) or observed == f"1 of 3 rows: {column}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_found(value: float) -> None:
    rows = good_rows(INTEREST_SERIES)
    rows[0]["score"] = value
    assert failed_expectations(INTEREST_SERIES, rows) == {"every number is finite": "1 of 3 rows: score"}


@pytest.mark.parametrize("name", [name for name in VALIDATED_TABLES if set(TABLES[name].key) - {"day", "segment"}])
def test_a_key_that_occurs_twice_is_found(name: str) -> None:
    table = TABLES[name]
    rows = good_rows(table)
    rows[2] |= {key: rows[0][key] for key in table.key}
    broken = failed_expectations(table, rows)
    assert list(broken.values()) == ["1 of 3 rows"]
    assert "occurs twice" in next(iter(broken))


def test_the_same_key_in_two_partitions_is_no_repetition() -> None:
    rows = good_rows(INTEREST_SERIES) + good_rows(INTEREST_SERIES, partition=OTHER)
    suite = suites.expectations(INTEREST_SERIES)
    frame = profile(INTEREST_SERIES, arrow(INTEREST_SERIES, rows), [PARTITION, OTHER], suite)
    assert frame[[e.name for e in suite]].to_numpy().sum() == 0


@pytest.mark.parametrize(
    ("table", "change", "failed_expectation"),
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
def test_table_specific_expectations(table: Table, change: dict[str, Any], failed_expectation: str) -> None:
    rows = good_rows(table)
    rows[0] |= change
    assert list(failed_expectations(table, rows)) == [failed_expectation]


@pytest.mark.parametrize(("hour_utc", "belongs"), [(22, True), (23, False)])
def test_an_event_belongs_to_the_shops_local_day(hour_utc: int, belongs: bool) -> None:
    rows = good_rows(CLEAN_EVENTS)
    rows[0]["event_ts"] = datetime(2026, 6, 10, hour_utc, 30, tzinfo=UTC)  # 23:30 and, next day, 00:30 in London
    expected = {} if belongs else {"event_ts lies on the partition's local day": "1 of 3 rows"}
    assert failed_expectations(CLEAN_EVENTS, rows) == expected


@pytest.mark.parametrize("delivered", [2, 4, 0])
def test_a_row_that_is_neither_clean_nor_rejected_is_missed(delivered: int) -> None:
    broken = failed_expectations(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), delivered={PARTITION: delivered})
    assert broken == {suites.ACCOUNTING: f"{delivered} delivered, 3 clean, 0 rejected"}


def test_many_rejected_rows_are_a_warning() -> None:
    facts = {"delivered": {PARTITION: 4}, "rejected": {PARTITION: 1}}
    assert failed_expectations(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), **facts) == {
        suites.REJECTED_SHARE: "25.0% of 4 rows"
    }


@pytest.mark.parametrize(
    ("weeks", "usual"),
    [((40, 44, 38), True), ((40, 44, 38, 41), False), ((4, 6, 3, 5, 4), True), ((0, 0, 0, 0, 40), True)],
)
def test_volume_is_compared_with_the_same_weekdays_when_four_of_them_had_rows(
    weeks: tuple[int, ...], usual: bool
) -> None:
    before = {Partition(DAY - timedelta(weeks=k + 1), "uk"): rows for k, rows in enumerate(weeks)}
    broken = failed_expectations(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), rows_before=before)
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
    broken = failed_expectations(CLEAN_EVENTS, rows, users_before=before)
    assert broken == ({suites.SEGMENT_STABLE: "1 users"} if found else {})


def test_great_expectations_names_the_partition_and_the_failed_expectation() -> None:
    rows = good_rows(CLEAN_EVENTS) + good_rows(CLEAN_EVENTS, 2, OTHER)
    for row in rows[3:]:
        row["event_ts"] += timedelta(days=1)
        row["user_id"] = row["user_id"].replace("0", "f")
    rows[4]["behavior"] = "teleport"
    empty = Partition(DAY, "empty")
    versions = {PARTITION: "a", OTHER: "b", empty: "c"}
    check_results = check_results_of(CLEAN_EVENTS, rows, versions)
    assert QUALITY_VERDICTS.conform(check_results).equals(check_results)
    assert check_results.num_rows == 3 * len(suites.expectations(CLEAN_EVENTS))
    failed = check_results.filter(pc.invert(check_results["passed"])).to_pylist()
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
    of_empty = check_results.filter(pc.equal(check_results["segment"], "empty"))
    assert "no rows" in of_empty["observed"].to_pylist()
    require_passed(check_results, CLEAN_EVENTS, {PARTITION: "a", empty: "c"})
    with pytest.raises(
        GateClosed, match=r"clean_events, partition 2026-06-11\|rest: failed “behavior is one of .* 1 of 2 rows"
    ):
        require_passed(check_results, CLEAN_EVENTS, versions)


def test_a_warning_does_not_close_the_gate() -> None:
    facts = {"delivered": {PARTITION: 4}, "rejected": {PARTITION: 1}}
    check_results = check_results_of(CLEAN_EVENTS, good_rows(CLEAN_EVENTS), {PARTITION: "a"}, **facts)
    assert not all(check_results["passed"].to_pylist())
    require_passed(check_results, CLEAN_EVENTS, {PARTITION: "a"})


def test_the_gate_is_closed_without_check_results_for_this_content() -> None:
    check_results = check_results_of(INTEREST_SERIES, good_rows(INTEREST_SERIES), {PARTITION: "a"})
    with pytest.raises(
        GateClosed, match=r"2026-06-11\|rest: it was never checked; .*--from 2026-06-11 --to 2026-06-11"
    ):
        require_passed(check_results, INTEREST_SERIES, {PARTITION: "a", OTHER: "b"})
    with pytest.raises(GateClosed, match="its content changed after it was checked"):
        require_passed(check_results, INTEREST_SERIES, {PARTITION: "new"})
    with pytest.raises(GateClosed, match=r"clean_events, partition .* never checked"):
        require_passed(check_results, CLEAN_EVENTS, {PARTITION: "a"})


def test_files_and_rows_are_validated_identically(tmp_path: Path) -> None:
    rows = good_rows(INTEREST_SERIES) + good_rows(INTEREST_SERIES, 2, OTHER)
    rows[0]["user_id"] = "who?"
    files = {}
    for partition, own_rows in itertools.groupby(rows, key=lambda row: Partition(row["day"], row["segment"])):
        files[partition] = tmp_path / f"day={partition.day}" / f"segment={partition.segment}" / "part.parquet"
        files[partition].parent.mkdir(parents=True)
        pq.write_table(arrow(INTEREST_SERIES, list(own_rows)).drop_columns(["day", "segment"]), files[partition])
    suite = suites.expectations(INTEREST_SERIES)
    from_files = profile(INTEREST_SERIES, files, list(files), suite)
    from_rows = profile(INTEREST_SERIES, arrow(INTEREST_SERIES, rows), list(files), suite)
    assert from_files.equals(from_rows)
    assert from_files["user_id is a pseudonym of 32 hex characters"].tolist() == [1.0, 0.0]


def test_what_cannot_be_validated_is_refused_with_its_name() -> None:
    rows = arrow(INTEREST_SERIES, good_rows(INTEREST_SERIES))
    with pytest.raises(ContractError, match=r"no content digest for 2026-06-10\|uk"):
        validate_partitions(INTEREST_SERIES, rows, [PARTITION], {})
    with pytest.raises(ContractError, match=r"not asked for: 2026-06-10\|uk"):
        validate_partitions(INTEREST_SERIES, rows, [OTHER], {OTHER: "b"})
    with pytest.raises(ContractError, match="missing columns"):
        validate_partitions(INTEREST_SERIES, rows.drop_columns(["score"]), [PARTITION], {PARTITION: "a"})
    with pytest.raises(ContractError, match="CleaningFacts"):
        validate_partitions(CLEAN_EVENTS, CLEAN_EVENTS.empty(), [PARTITION], {PARTITION: "a"})
    assert validate_partitions(INTEREST_SERIES, rows, [], {}).num_rows == 0


def test_a_day_is_fresh_when_every_segment_is_published() -> None:
    check_results = validate_freshness(CLEAN_EVENTS, {PARTITION: "a"}, DAY, ["uk", "rest"])
    assert QUALITY_VERDICTS.conform(check_results).equals(check_results)
    assert check_results["segment"].to_pylist() == ["rest", "uk"]
    assert check_results["passed"].to_pylist() == [False, True]
    assert check_results["observed"].to_pylist() == ["never materialised", "stands"]
