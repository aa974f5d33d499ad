"""Valid rows of any table, and what a suite finds in changed ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.table import Column, Table
from shift_assets.quality import suites
from shift_assets.quality.facts import CleaningFacts
from shift_assets.quality.profile import profile
from shift_assets.quality.validation import validate_partitions

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
    """Failed expectations with their observations, by the profile alone, without Great Expectations."""
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
