"""Read the contract columns of raw rows: mapped, constant or derived by an expression, each value typed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int32

from shift_assets.arrays import BoolArray, Int32Array, UInt8Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.ingest.readers.opened_file import UnreadableFileError
from shift_assets.ingest.readers.row_batch import Rejection, RowBatch
from shift_assets.ingest.rows.ids import MISSING_ID, validate_ids
from shift_assets.ingest.rows.rejections import RejectedRows
from shift_assets.ingest.rows.timestamps import TimestampReader
from shift_assets.ingest.rows.values import as_text, blank_to_null, null_mask, to_double
from shift_assets.ingest.rows.zones import local_calendar
from shift_assets.ingest.source.columns import COLUMN_TYPES
from shift_assets.ingest.source.config import Source
from shift_assets.ingest.source.expressions import Expression, ExpressionError, evaluate, new_connection

NUMERIC_COLUMNS = ("quantity", "price", "rating")


@dataclass(frozen=True, slots=True)
class TypedColumn:
    """One contract column: its values, null where missing or wrong, and the rows that must be rejected for it."""

    values: pa.Array
    rejected: tuple[RejectedRows, ...] = ()


class ContractColumns:
    """Reads the contract columns that a source fills. Holds a DuckDB connection: close it after use."""

    def __init__(self, source: Source) -> None:
        self._events = source.events
        self._calendar = local_calendar(source.timezone)
        self._connection = new_connection()
        timestamp_format = source.events.timestamp
        wall = local_calendar(timestamp_format.zone) if timestamp_format.zone else self._calendar
        self._timestamps = TimestampReader(timestamp_format, wall, self._connection)
        self._behaviors = _behavior_names(source.events.behaviors, derived="behavior" in source.events.derive)

    def close(self) -> None:
        self._connection.close()

    def read(self, rows: RowBatch, needed: Collection[str]) -> dict[str, TypedColumn]:
        """Return those of the contract columns `needed` that the source fills.

        Raises:
            UnreadableFileError: An expression does not fit the column types of the file.
        """
        columns: dict[str, TypedColumn] = {}
        for name in self._events.contract_columns:
            if name not in needed:
                continue
            if name in self._events.map:
                column = self._events.map[name]
                columns[name] = self._typed(name, rows.columns[column], rows.kinds.get(column))
            elif name in self._events.constant:
                constant = pa.repeat(pa.scalar(self._events.constant[name]), len(rows))
                columns[name] = self._typed(name, constant, None)
        for name, expression in self._events.derivations.items():
            if name not in needed:
                continue
            derived = self._typed(name, self.evaluate(expression, rows, columns, "varchar"), None)
            if name in columns:
                is_null = null_mask(derived.values)
                remaining = tuple(replace(check, rows=check.rows & is_null) for check in columns[name].rejected)
                derived = TypedColumn(derived.values, remaining + derived.rejected)
            columns[name] = derived
        return columns

    def evaluate(
        self, expression: Expression, rows: RowBatch, columns: Mapping[str, TypedColumn], cast: str
    ) -> pa.Array:
        """Return an expression's value on each row: it sees the typed contract columns, then the raw ones.

        Raises:
            UnreadableFileError: The expression does not fit the column types of the file.
        """
        visible = {
            name: columns[name].values if name in COLUMN_TYPES and name in columns else rows.columns[name]
            for name in expression.columns.values()
        }
        try:
            return evaluate(self._connection, expression, visible, cast, len(rows))
        except ExpressionError as error:
            raise UnreadableFileError(f"expression does not fit the columns of this file: {error}") from error

    def evaluate_sql(self, sql: str, fields: Mapping[str, pa.Array], cast: str, count: int) -> pa.Array:
        """Return the value of our own SQL on each of `count` rows of `fields`."""
        expression = Expression(sql, sql, {name: name for name in fields})
        return evaluate(self._connection, expression, dict(fields), cast, count)

    def days_of(self, stamps: pa.Array) -> tuple[Int32[Int32Array, " row"], Bool[BoolArray, " row"]]:
        """Return the local day (days since 1970-01-01) of each UTC timestamp, and which timestamps are not null."""
        days = self._calendar.to_day(np.asarray(pc.fill_null(stamps.cast(pa.int64()), 0)))
        return days, ~null_mask(stamps)

    def local_days(self, rows: RowBatch) -> tuple[Int32[Int32Array, " row"], Bool[BoolArray, " row"]]:
        """Return the local day (days since 1970-01-01) of each row, and which rows have one."""
        needed = {"event_ts"}
        if "event_ts" in self._events.derivations:
            needed |= set(self._events.derivations["event_ts"].columns.values())
        days, has_day = self.days_of(self.read(rows, needed)["event_ts"].values)
        has_day[list(rows.rejections)] = False
        return days, has_day

    def _typed(self, name: str, values: pa.Array, kinds: UInt8Array | None) -> TypedColumn:
        if name in ("user_id", "item_id"):
            return _ids(name, values, kinds)
        if name == "event_ts":
            return self._timestamps_of(values)
        if name in NUMERIC_COLUMNS:
            numbers, bad = to_double(values)
            rejection = Rejection("bad_value", f"{name} is no finite number")
            return TypedColumn(numbers, (RejectedRows(bad, rejection, values),))
        texts, _ = as_text(values)
        return self._behavior(texts) if name == "behavior" else TypedColumn(blank_to_null(texts))

    def _timestamps_of(self, values: pa.Array) -> TypedColumn:
        micros, bad, absent = self._timestamps.read(values)
        return TypedColumn(
            pa.array(micros, mask=bad | absent).cast(pa.timestamp("us")),
            (
                RejectedRows(absent, Rejection("bad_timestamp", "no timestamp")),
                RejectedRows(
                    bad, Rejection("bad_timestamp", "no time between 1990 and 2100 in the source's form"), values
                ),
            ),
        )

    def _behavior(self, texts: pa.Array) -> TypedColumn:
        encoded = pc.dictionary_encode(texts)
        names = [self._behaviors.get(text) for text in encoded.dictionary.to_pylist()]
        behaviors = pa.array(names, pa.string()).take(encoded.indices)
        return TypedColumn(
            behaviors,
            (
                RejectedRows(null_mask(texts), Rejection("unknown_behavior", "no behavior")),
                RejectedRows(
                    null_mask(behaviors), Rejection("unknown_behavior", "not among the source's behaviors"), texts
                ),
            ),
        )


def _ids(name: str, values: pa.Array, kinds: UInt8Array | None) -> TypedColumn:
    if kinds is None:
        values, kinds = as_text(values)
    ids, rejected = validate_ids(values, kinds)
    missing = "missing_user" if name == "user_id" else "missing_item"
    return TypedColumn(
        ids,
        tuple(
            RejectedRows(rows, Rejection(missing if found is MISSING_ID else found.reason, f"{name} {found.detail}"))
            for rows, found in rejected
        ),
    )


def _behavior_names(mapping: Mapping[str, str], *, derived: bool) -> dict[str, str]:
    """Map raw names to contract behaviours; contract names map to themselves if no mapping is set or it is derived."""
    contract = {name: name for name in BEHAVIORS} if derived or not mapping else {}
    return contract | dict(mapping)
