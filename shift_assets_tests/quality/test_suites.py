"""Laws of the suites: each violation fails exactly the expectation that it should."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shift_assets.contracts.cleaning import BEHAVIORS, CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.contracts.table import Column, Table
from shift_assets.quality import suites
from shift_assets.quality.profile import profile
from shift_assets_tests.quality.sample_rows import DAY, VALIDATED_TABLES, arrow, failed_expectations, good_rows


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


@pytest.mark.parametrize(
    ("uncategorised", "events", "failed_severities"),
    [(10, 100, []), (11, 100, ["WARN"]), (40, 100, ["WARN"]), (41, 100, ["WARN", "ERROR"]), (99, 99, [])],
)
def test_a_day_that_is_hardly_described_is_reported_and_goes_on(
    uncategorised: int, events: int, failed_severities: list[str]
) -> None:
    """Shares of events, not of rows; a small partition says nothing; no such failure holds anything back."""
    no_events = {f"n_{behavior}": 0 for behavior in BEHAVIORS}
    counts = {"uncategorised": uncategorised, "mugs": events - uncategorised}
    rows = [
        row | no_events | {"n_view": count, "category": category}
        for row, (category, count) in zip(good_rows(INTEREST_SERIES, 2), counts.items(), strict=True)
        if count
    ]
    failed = failed_expectations(INTEREST_SERIES, rows)
    suite = {item.name: item for item in suites.expectations(INTEREST_SERIES)}
    assert [suite[name].severity for name in failed] == failed_severities
    assert not any(suite[name].blocking for name in failed)
    assert all(observed == f"{uncategorised / events:.1%} of {events}" for observed in failed.values())
