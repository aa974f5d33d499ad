"""What a table is: columns with type, unit, meaning and bounds, and the check of rows against them.

What belongs here: what every declared table can do. Which tables there are is declared in `registry` (the lake) and
`marts` (BI).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from shift_assets.contracts.partition import SEGMENT_PATTERN

_STRING, _INT, _FLOAT, _DAY = pa.string(), pa.int64(), pa.float64(), pa.date32()


class ContractError(ValueError):
    """A table does not keep its contract; the message names table, column and remedy."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a contract.

    `allowed`, `minimum`, `maximum` and `pattern` bound every value that is not null.
    """

    name: str
    type: pa.DataType
    meaning: str
    unit: str | None = None
    nullable: bool = False
    allowed: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None


_PARTITION_COLUMNS = (
    Column("day", _DAY, "Local calendar day of the shop: the partition that holds the row"),
    Column("segment", _STRING, "User segment: the partition that holds the row", pattern=SEGMENT_PATTERN),
)


@dataclass(frozen=True)
class Table:
    """One table.

    name: of the table in the lake or in a DuckDB file.
    grain: what one row is.
    key: columns that identify a row.
    consumer: what reads the table, each by its name in backticks; people in parentheses.
    own_columns: columns besides `day` and `segment`.
    description: what the table is and how it is made, in one sentence without a full stop.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    consumer: str
    own_columns: tuple[Column, ...] = field(repr=False)
    description: str = field(default="", repr=False, kw_only=True)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The partition columns `day`, `segment`, then the table's own."""
        return _PARTITION_COLUMNS + self.own_columns

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    def column(self, name: str) -> Column:
        """The column called `name`; raises ContractError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise ContractError(f"table {self.name} has no column {name!r}")

    def empty(self) -> pa.Table:
        return self.schema.empty_table()

    def conform(self, rows: pa.Table) -> pa.Table:
        """`rows` in the contract's column order and types.

        Raises ContractError for a missing or unknown column, a value that does not fit its type, or a null
        where none may be.
        """
        missing = [c.name for c in self.columns if c.name not in rows.column_names]
        unknown = [name for name in rows.column_names if name not in self.schema.names]
        if missing or unknown:
            raise ContractError(
                f"table {self.name}: missing columns {missing}, unknown columns {unknown}; "
                "shift_assets/contracts/ declares what the table holds"
            )
        arrays = []
        for column in self.columns:
            values = rows[column.name]
            try:
                values = values.cast(column.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise ContractError(f"table {self.name}, column {column.name}: {error}") from error
            if not column.nullable and values.null_count:
                raise ContractError(
                    f"table {self.name}, column {column.name}: {values.null_count} nulls where none may be"
                )
            arrays.append(values)
        return pa.table(arrays, schema=self.schema)


def share(name: str, meaning: str, *, nullable: bool = False) -> Column:
    """A column of shares, 0..1."""
    return Column(name, _FLOAT, meaning, unit="share 0..1", nullable=nullable, minimum=0.0, maximum=1.0)


def count(name: str, meaning: str, *, nullable: bool = False) -> Column:
    """A column of whole numbers from 0."""
    return Column(name, _INT, meaning, unit="count", nullable=nullable, minimum=0)
