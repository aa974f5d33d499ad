"""The row rules: everything that concerns a single raw row, decided on whole batches.

The first failing check gives the reason. The order is: can the row be read, user, item, behaviour, timestamp, day of
the folder, numbers, the source's own rules. Of an erased user nothing is kept but the fact that there was a row.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32

from shift_assets.arrays import BoolArray, Int32Array
from shift_assets.contracts.day import day_number
from shift_assets.ingest.readers.row_batch import RAW_CAP_BYTES, Rejection, RowBatch
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.contract_columns import NUMERIC_COLUMNS, ContractColumns, TypedColumn
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parsed_schema import PARSED
from shift_assets.ingest.rows.pseudonyms import contains_user
from shift_assets.ingest.rows.rejections import Rejections
from shift_assets.ingest.rows.segments import hashed_segments
from shift_assets.ingest.rows.values import NULL_TEXT, null_mask, true_mask
from shift_assets.ingest.source.columns import MAPPABLE_COLUMNS
from shift_assets.privacy.erased_users import ERASED_DETAIL, ERASED_REASON, NOTHING_SHA256

_REQUIRED_IN_ORDER = ("user_id", "item_id", "behavior", "event_ts")
_EVENT_COLUMNS = tuple(
    part.name for part in PARSED if part.nullable and part.name not in ("reason", "detail", "raw_sha256")
)


class RowValidator:
    """Turns the raw rows of one source file into PARSED rows."""

    def __init__(self, context: ParseContext, source_file: SourceFile, sha256: str) -> None:
        self._context, self._source, self._source_file, self._sha256 = context, context.source, source_file, sha256
        self._folder_day = day_number(source_file.folder_day)
        self._columns = ContractColumns(context.source)

    def close(self) -> None:
        self._columns.close()

    def validate(self, rows: RowBatch) -> pa.RecordBatch:
        """Return one PARSED row per raw row, in order.

        Raises:
            UnreadableFileError: An expression does not fit the column types of the file.
        """
        rejections = Rejections(len(rows))
        for row, rejection in rows.rejections.items():
            rejections.reject_row(row, rejection)
        columns = self._contract_columns(rows)
        pseudonyms = self._context.pseudonyms.lookup(columns["user_id"].values)
        for name in _REQUIRED_IN_ORDER:
            rejections.reject_all(columns[name].rejected)
        days = self._partition_days(columns["event_ts"].values, rejections)
        for name in NUMERIC_COLUMNS:
            rejections.reject_all(columns[name].rejected)
        columns = self._filled_from_catalogue(columns)
        self._apply_rules(rows, columns, rejections)
        erased = self._erased(rows, pseudonyms, rejections)
        rejections.override(erased, Rejection(ERASED_REASON, ERASED_DETAIL))
        return self._parsed(rows, columns, pseudonyms, days=days, rejections=rejections, erased=erased)

    def _contract_columns(self, rows: RowBatch) -> dict[str, TypedColumn]:
        """Return every contract column; those that the source does not fill are null."""
        columns = self._columns.read(rows, MAPPABLE_COLUMNS)
        for name in ("category", "text"):
            columns.setdefault(name, TypedColumn(pa.nulls(len(rows), pa.string())))
        for name in NUMERIC_COLUMNS:
            columns.setdefault(name, TypedColumn(pa.nulls(len(rows), pa.float64())))
        return columns

    def _partition_days(self, stamps: pa.Array, rejections: Rejections) -> Int32[Int32Array, " row"]:
        """Return the day (since 1970-01-01) of each row's partition; reject rows that the folder may not hold."""
        days, has_time = self._columns.days_of(stamps)
        wrong = has_time & ((days < self._folder_day - self._context.lateness_days) | (days > self._folder_day))
        rejections.reject(wrong, lambda row: Rejection("wrong_day", self._wrong_day_detail(int(days[row]))))
        return np.where(has_time & ~wrong, days, self._folder_day).astype(np.int32)

    def _wrong_day_detail(self, day: int) -> str:
        folder = self._source_file.folder_day
        local = np.datetime64(day, "D")
        return (
            f"local day {local} in the folder of {folder}, which may hold {self._context.lateness_days} days before it"
        )

    def _filled_from_catalogue(self, columns: dict[str, TypedColumn]) -> dict[str, TypedColumn]:
        """Return the columns with missing categories, prices and texts filled from the items table."""
        if self._context.catalogue is None:
            return columns
        item_columns = self._context.catalogue.lookup(columns["item_id"].values)
        return columns | {
            name: TypedColumn(pc.coalesce(columns[name].values, values), columns[name].rejected)
            for name, values in item_columns.items()
        }

    def _apply_rules(self, rows: RowBatch, columns: dict[str, TypedColumn], rejections: Rejections) -> None:
        for reason, rule in self._source.events.rules:
            matches = true_mask(self._columns.evaluate(rule, rows, columns, "boolean"))
            rejections.reject(matches, Rejection(reason, f"source rule: {rule.text}"))

    def _erased(self, rows: RowBatch, pseudonyms: pa.Array, rejections: Rejections) -> BoolArray:
        """Mark the rows of erased users: their own, and rejected rows without a user whose bytes hold such an id."""
        erased_users = self._context.erased
        if not erased_users:
            return np.zeros(len(rows), dtype=bool)
        erased = true_mask(pc.is_in(pseudonyms, pa.array(sorted(erased_users), pa.string())))
        unattributed = np.flatnonzero(rejections.rejected & null_mask(pseudonyms))
        for row, raw in zip(unattributed.tolist(), rows.raw.take(pa.array(unattributed)).to_pylist(), strict=True):
            erased[row] = contains_user(raw, self._context.key, erased_users)
        return erased

    def _parsed(
        self,
        rows: RowBatch,
        columns: dict[str, TypedColumn],
        pseudonyms: pa.Array,
        *,
        days: Int32[Int32Array, " row"],
        rejections: Rejections,
        erased: BoolArray,
    ) -> pa.RecordBatch:
        """Assemble the PARSED rows; those of erased users keep no content."""
        reason, detail = rejections.columns()
        user_known = ~null_mask(pseudonyms) & ~erased
        raw, digests = _cap_raw(rows, rejections.rejected)
        event_ids = self._event_ids(rows, columns, pseudonyms)
        arrays = {
            "folder_day": pa.repeat(pa.scalar(self._folder_day, pa.int32()), len(rows)).cast(pa.date32()),
            "source_file": pa.repeat(pa.scalar(self._source_file.path), len(rows)),
            "source_row": pa.array(rows.numbers),
            "day": pa.array(days).cast(pa.date32()),
            "segment": self._context.chooser.segments(rows, self._source_file.path, pseudonyms, user_known),
            "segment_known": pa.array(user_known),
            "event_id": pc.if_else(pa.array(~rejections.rejected), event_ids, NULL_TEXT),
            "user_id": pseudonyms,
            **{name: typed.values for name, typed in columns.items() if name != "user_id"},
            "event_ts": columns["event_ts"].values.cast(pa.timestamp("us", tz="UTC")),
            "reason": reason,
            "detail": detail,
            "raw": raw,
            "raw_sha256": digests,
        }
        if erased.any():
            _blank_erased(arrays, pa.array(erased))
        return pa.RecordBatch.from_arrays([arrays[name] for name in PARSED.names], schema=PARSED)

    def _event_ids(self, rows: RowBatch, columns: dict[str, TypedColumn], pseudonyms: pa.Array) -> pa.Array:
        """Return each row's id: the MD5 (32 hex) of the source's name and the identity fields.

        The fields are joined by separators that no id can contain. Free text is preceded by its length, so that rows
        with different fields never give the same text.
        """
        events = self._source.events
        fields: dict[str, pa.Array] = {}
        parts: list[str] = []
        if events.identity == ("row",):
            fields["row"] = pa.array(rows.numbers)
            parts = [f"'{self._sha256}'", "row"]
        else:
            for position, name in enumerate(events.identity):
                alias = f"f{position}"
                part = f"{alias}::varchar"
                if name == "user_id":
                    fields[alias] = pseudonyms
                elif name in events.contract_columns and name not in ("category", "text"):
                    values = columns[name].values
                    fields[alias] = values.cast(pa.int64()) if name == "event_ts" else values
                else:
                    fields[alias] = columns[name].values if name in events.contract_columns else rows.columns[name]
                    part = f"strlen({alias}::varchar) || ':' || {alias}::varchar"
                parts.append(f"coalesce({part}, '\x1e')")
        sql = f"md5(concat_ws('\x1f', '{self._source.name}', {', '.join(parts)}))"
        return self._columns.evaluate_sql(sql, fields, "varchar", len(rows))


def _blank_erased(arrays: dict[str, pa.Array], erased: pa.Array) -> None:
    """Remove the content of the `erased` rows from the PARSED columns."""
    for name in _EVENT_COLUMNS:
        arrays[name] = pc.if_else(erased, pa.scalar(None, arrays[name].type), arrays[name])
    arrays["raw"] = pc.if_else(erased, pa.scalar(b"", pa.binary()), arrays["raw"])
    arrays["raw_sha256"] = pc.if_else(erased, pa.scalar(NOTHING_SHA256), arrays["raw_sha256"])


def _cap_raw(rows: RowBatch, rejected: BoolArray) -> tuple[pa.Array, pa.Array]:
    """Return raw bytes up to the cap, and the SHA-256 of the whole for rejected and truncated rows."""
    lengths = np.asarray(pc.binary_length(rows.raw))
    truncated = lengths > RAW_CAP_BYTES
    digested = np.flatnonzero(rejected | truncated)
    digests: list[str | None] = [None] * len(rows)
    for row, value in zip(digested.tolist(), rows.raw.take(pa.array(digested)).to_pylist(), strict=True):
        digests[row] = rows.digests.get(row) or hashlib.sha256(value).hexdigest()
    raw = rows.raw
    if truncated.any():
        raw = pa.array([value[:RAW_CAP_BYTES] for value in raw.to_pylist()], pa.binary())
    return raw, pa.array(digests, pa.string())


def unreadable_file_row(
    context: ParseContext, source_file: SourceFile, why: str, head: bytes, sha256: str
) -> pa.RecordBatch:
    """Return the single rejected row that represents a file of which nothing can be published."""
    raw = b"" if context.erased and contains_user(head, context.key, context.erased) else head[:RAW_CAP_BYTES]
    row = {
        "folder_day": source_file.folder_day,
        "source_file": source_file.path,
        "source_row": 0,
        "day": source_file.folder_day,
        "segment": hashed_segments(context.source.segment_keys, source_file.path, np.array([0]))[0],
        "segment_known": False,
        "reason": "unreadable_file",
        "detail": why,
        "raw": raw,
        "raw_sha256": sha256,
    }
    return pa.RecordBatch.from_pylist([row], schema=PARSED)
