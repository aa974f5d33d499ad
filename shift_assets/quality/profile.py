"""Measure every expectation in every partition, in one pass over the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import duckdb
import pandas as pd
import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import ContractError, Table
from shift_assets.quality.facts import CleaningFacts, measure_facts, moved_users
from shift_assets.quality.suites import Expectation, FactHolds, RowsSatisfy, RowsUnique, ShareAtMost

Rows: TypeAlias = pa.Table | Mapping[Partition, Path]
"""Rows of a table, or the Parquet file of each partition, which may lack day and segment."""


def profile(
    table: Table,
    rows: Rows,
    partitions: Collection[Partition],
    suite: Sequence[Expectation],
    facts: CleaningFacts | None = None,
) -> pd.DataFrame:
    """Measure a suite of expectations.

    Args:
        table: The contract of the rows.
        rows: The rows of exactly `partitions`.
        partitions: The partitions to measure, also those without rows.
        suite: The expectations.
        facts: Needed if the suite has a FactHolds.

    Returns:
        One row per partition: day, segment, `rows`; per expectation a float column of its name, 0 where it is met,
        and a column `observed: <name>` with the observation in words.

    Raises:
        ContractError: Rows are outside `partitions`, a column is missing, or facts are missing.
    """
    wants_facts = any(isinstance(expectation, FactHolds) for expectation in suite)
    if wants_facts and facts is None:
        raise ContractError(f"table {table.name} is validated with CleaningFacts in addition to its rows; pass them")
    with _open_rows(table, rows) as connection:
        measured = _measure_rows(connection, suite)
        moved = moved_users(connection, facts) if wants_facts and facts is not None else {}
    unexpected = sorted(set(measured) - set(partitions))
    if unexpected:
        day, segment = unexpected[0]
        raise ContractError(
            f"table {table.name} has rows of {len(unexpected)} partitions not asked for: {day}|{segment}, …"
        )
    counts = {partition: measured[partition]["rows"] if partition in measured else 0 for partition in partitions}
    records = []
    for partition in sorted(partitions):
        record: dict[str, object] = {
            "day": partition.day.isoformat(),
            "segment": partition.segment,
            "rows": counts[partition],
        }
        measured_facts = measure_facts(facts, counts, moved, partition) if wants_facts and facts is not None else {}
        for number, expectation in enumerate(suite):
            if isinstance(expectation, FactHolds):
                excess, observed = measured_facts[expectation.name]
            elif isinstance(expectation, ShareAtMost):
                excess, observed = _share(expectation, number, measured.get(partition, {}))
            else:
                excess, observed = _violations(expectation, number, counts[partition], measured.get(partition, {}))
            record[expectation.name] = float(excess)
            record[f"observed: {expectation.name}"] = observed
        records.append(record)
    return pd.DataFrame(records)


@contextmanager
def _open_rows(table: Table, rows: Rows) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection with the relation `checked`: the rows, with day and segment."""
    with duckdb.connect() as connection:
        if isinstance(rows, pa.Table):
            connection.register("checked", rows)
        elif rows:
            keys = [(str(path), partition.day, partition.segment) for partition, path in rows.items()]
            files, days, segments = zip(*keys, strict=True)
            connection.register("partition_of", pa.table({"file": files, "day": days, "segment": segments}))
            stored = connection.read_parquet(list(files), filename=True, hive_partitioning=False, union_by_name=True)
            own = ", ".join(f'stored."{name}"' for name in stored.columns if name not in ("filename", "day", "segment"))
            stored.create_view("stored")
            # An empty partition of an older version is not written again, and lacks the columns that came since.
            later = [column.name for column in table.columns if column.nullable and column.name not in stored.columns]
            connection.register("later", table.empty().select(later or ["day"]))
            connection.execute(
                f"create view checked as select partition_of.day, partition_of.segment, {own} "  # noqa: S608
                "from stored join partition_of on stored.filename = partition_of.file "
                "union all by name select * from later"
            )
        else:
            connection.register("checked", table.empty())
        present = {name for name, *_ in connection.execute("describe checked").fetchall()}
        missing = [name for name in table.schema.names if name not in present]
        if missing:
            raise ContractError(f"table {table.name}: missing columns {missing}")
        yield connection


def _measure_rows(
    connection: duckdb.DuckDBPyConnection, suite: Sequence[Expectation]
) -> dict[Partition, dict[str, int]]:
    """Count the violations by partition.

    Returns:
        Per partition: `rows`; `<number>` per expectation; `<number>: <column>` per column of an expectation on several
        columns that some row violates; `<number>: all`, the whole weight, per share.
    """
    expressions, distinct = {"rows": "count(*)"}, {}
    for number, expectation in enumerate(suite):
        if isinstance(expectation, RowsSatisfy):
            either = " or ".join(f"coalesce({condition}, false)" for _, condition in expectation.violations)
            expressions[str(number)] = f"count(*) filter (where {either})"
        elif isinstance(expectation, ShareAtMost):
            expressions[str(number)] = f"coalesce(sum({expectation.weight}) filter (where {expectation.condition}), 0)"
            expressions[f"{number}: all"] = f"coalesce(sum({expectation.weight}), 0)"
        elif isinstance(expectation, RowsUnique):
            columns = ", ".join(f'"{name}"' for name in expectation.columns)
            key = columns if len(expectation.columns) == 1 else f"({columns})"
            distinct[str(number)] = f"count({key}) - count(distinct {key})"
    measured = _by_partition(connection, expressions)
    causes = {
        f"{number}: {column}": f"count(*) filter (where {condition})"
        for number, expectation in enumerate(suite)
        if isinstance(expectation, RowsSatisfy) and any(counts[str(number)] for counts in measured.values())
        for column, condition in expectation.violations
    }
    # A separate query per distinct count: in the same query all other counts would take several times as long.
    further = [causes] if causes else []
    for more in further + [{number: expression} for number, expression in distinct.items()]:
        for partition, counts in _by_partition(connection, more).items():
            measured[partition] |= counts
    return measured


def _by_partition(
    connection: duckdb.DuckDBPyConnection, expressions: Mapping[str, str]
) -> dict[Partition, dict[str, int]]:
    selected = ", ".join(f'{expression} as "{name}"' for name, expression in expressions.items())
    counts = connection.execute(f"select day, segment, {selected} from checked group by day, segment").fetchall()  # noqa: S608
    return {Partition(day, segment): dict(zip(expressions, values, strict=True)) for day, segment, *values in counts}


def _share(expectation: ShareAtMost, number: int, measured: Mapping[str, int]) -> tuple[float, str]:
    part, whole = measured.get(str(number), 0), measured.get(f"{number}: all", 0)
    share = part / whole if whole else 0.0
    excess = max(0.0, share - expectation.limit) if whole >= expectation.minimum else 0.0
    return excess, f"{share:.1%} of {whole:,}"


def _violations(expectation: Expectation, number: int, rows: int, measured: Mapping[str, int]) -> tuple[float, str]:
    bad = measured.get(str(number), 0)
    observed = f"{bad:,} of {rows:,} rows" if rows else "no rows"
    if bad and isinstance(expectation, RowsSatisfy) and len(expectation.violations) > 1:
        causes = [column for column, _ in expectation.violations if measured[f"{number}: {column}"]]
        observed += f": {', '.join(causes)}"
    return bad, observed
