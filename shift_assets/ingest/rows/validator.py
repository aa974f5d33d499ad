"""The row logic: what concerns one delivered row alone, settled on whole batches.

Order of the questions, of which the first to fail gives the reason: can the row be read, who (user), what (item),
which behaviour, when, in which folder's days, with which numbers, by the source's own rules. Of users who were
erased nothing is kept but that there was a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.arrays import BoolArray
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.day import day_number
from shift_assets.ingest.readers.opened_file import UnreadableFileError
from shift_assets.ingest.readers.row_batch import RAW_CAP_BYTES, RowBatch
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.ids import validate_ids
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parsed_schema import PARSED
from shift_assets.ingest.rows.pseudonyms import contains_user
from shift_assets.ingest.rows.rejections import Rejections, excerpt
from shift_assets.ingest.rows.segments import hashed_segments
from shift_assets.ingest.rows.timestamps import TimestampReader
from shift_assets.ingest.rows.values import as_text, blank_to_null, null_mask, to_double, true_mask
from shift_assets.ingest.rows.zones import local_calendar
from shift_assets.ingest.source.columns import COLUMN_TYPES, MAPPABLE_COLUMNS
from shift_assets.ingest.source.expressions import Expression, ExpressionError, evaluate, new_connection
from shift_assets.privacy.erased_users import ERASED_DETAIL, ERASED_REASON, NOTHING_SHA256

_NUMERIC = ("quantity", "price", "rating")
_NO_STRING = pa.scalar(None, pa.string())
_EVENT_COLUMNS = tuple(
    part.name for part in PARSED if part.nullable and part.name not in ("reason", "detail", "raw_sha256")
)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Rows that fail one question; `value` is shown in the detail, where it may be."""

    rows: BoolArray
    reason: str
    detail: str
    value: pa.Array | None = None

    def apply_to(self, rejections: Rejections) -> None:
        if self.value is None:
            rejections.reject(self.rows, self.reason, self.detail)
        else:
            values = self.value
            rejections.reject(self.rows, self.reason, lambda row: f"{self.detail}: {excerpt(values[row].as_py())}")


@dataclass(frozen=True, slots=True)
class _TypedColumn:
    """One contract column: its values, null where not delivered or wrong, and what is wrong with which rows."""

    values: pa.Array
    problems: tuple[_Problem, ...] = ()


class RowValidator:
    """Turns the rows of one delivered file into PARSED rows."""

    def __init__(self, context: ParseContext, source_file: SourceFile, sha256: str) -> None:
        source = context.source
        self._source, self._source_file, self._sha256 = source, source_file, sha256
        self._folder_day = day_number(source_file.folder_day)
        self._lateness_days = context.lateness_days
        self._calendar = local_calendar(source.timezone)
        self._connection = new_connection()
        timestamp_format = source.events.timestamp
        wall = local_calendar(timestamp_format.zone) if timestamp_format.zone else self._calendar
        self._timestamps = TimestampReader(timestamp_format, wall, self._connection)
        self._behaviors = _behavior_names(source.events.behaviors, derived="behavior" in source.events.derive)
        self._pseudonyms, self._segment_chooser, self._catalogue = (
            context.pseudonyms,
            context.chooser,
            context.catalogue,
        )
        self._context = context

    def close(self) -> None:
        self._connection.close()

    def validate(self, rows: RowBatch) -> pa.RecordBatch:
        """One PARSED row per row, in order."""
        rejections = Rejections(len(rows))
        for index, fault in rows.faults.items():
            rejections.reject_row(index, fault.reason, fault.detail)
        columns, pseudonyms = self._contract_columns(rows, rejections)
        stamps = columns["event_ts"].values
        days = self._calendar.to_day(np.asarray(pc.fill_null(stamps.cast(pa.int64()), 0)))
        has_time = ~null_mask(stamps)
        early, late = days < self._folder_day - self._lateness_days, days > self._folder_day
        rejections.reject(has_time & (early | late), "wrong_day", lambda row: self._wrong_day_detail(int(days[row])))
        day_accepted = has_time & ~(early | late)
        for name in _NUMERIC:
            for problem in columns[name].problems:
                problem.apply_to(rejections)
        columns = self._filled_from_catalogue(columns)
        self._apply_rules(rows, columns, rejections)
        erased = self._erased(rows, pseudonyms, rejections)
        rejections.override(erased, ERASED_REASON, ERASED_DETAIL)
        reason, detail = rejections.columns()
        accepted = pa.array(~rejections.rejected)
        known = ~null_mask(pseudonyms) & ~erased
        raw, digests = _cap_raw(rows, rejections.rejected)
        event_ids = self._event_ids(rows, columns, pseudonyms)
        arrays = {
            "folder_day": pa.repeat(pa.scalar(self._folder_day, pa.int32()), len(rows)).cast(pa.date32()),
            "source_file": pa.repeat(pa.scalar(self._source_file.path), len(rows)),
            "source_row": pa.array(rows.numbers),
            "day": pa.array(np.where(day_accepted, days, self._folder_day).astype(np.int32)).cast(pa.date32()),
            "segment": self._segment_chooser.segments(rows, self._source_file.path, pseudonyms, known),
            "segment_known": pa.array(known),
            "event_id": pc.if_else(accepted, event_ids, _NO_STRING),
            "user_id": pseudonyms,
            **{name: typed.values for name, typed in columns.items() if name != "user_id"},
            "event_ts": stamps.cast(pa.timestamp("us", tz="UTC")),
            "reason": reason,
            "detail": detail,
            "raw": raw,
            "raw_sha256": digests,
        }
        if erased.any():
            _blank_erased(arrays, pa.array(erased))
        return pa.RecordBatch.from_arrays([arrays[name] for name in PARSED.names], schema=PARSED)

    def _erased(self, rows: RowBatch, pseudonyms: pa.Array, rejections: Rejections) -> BoolArray:
        """Rows of erased users: their own, and rejected ones of nobody known whose bytes tell of one."""
        erased_users = self._context.erased
        if not erased_users:
            return np.zeros(len(rows), dtype=bool)
        erased = true_mask(pc.is_in(pseudonyms, pa.array(sorted(erased_users), pa.string())))
        unattributed = np.flatnonzero(rejections.rejected & null_mask(pseudonyms))
        for row, raw in zip(unattributed.tolist(), rows.raw.take(pa.array(unattributed)).to_pylist(), strict=True):
            erased[row] = contains_user(raw, self._context.key, erased_users)
        return erased

    def _wrong_day_detail(self, day: int) -> str:
        folder = self._source_file.folder_day
        local = np.datetime64(day, "D")
        return f"local day {local} in the folder of {folder}, which may hold {self._lateness_days} days before it"

    def local_days(self, rows: RowBatch) -> tuple[NDArray[np.int32], BoolArray]:
        """Local day (days of the epoch) of each row, and of which rows it can be told."""
        events = self._source.events
        needed = {"event_ts"}
        if "event_ts" in events.derivations:
            needed |= set(events.derivations["event_ts"].columns.values())
        stamps = self._typed_columns(rows, needed)["event_ts"].values
        days = self._calendar.to_day(np.asarray(pc.fill_null(stamps.cast(pa.int64()), 0)))
        has_time = ~null_mask(stamps)
        has_time[list(rows.faults)] = False
        return days, has_time

    def _typed_columns(self, rows: RowBatch, needed: Collection[str]) -> dict[str, _TypedColumn]:
        """Those of the contract columns `needed` that the source fills: mapped or constant, then derived."""
        events = self._source.events
        columns: dict[str, _TypedColumn] = {}
        for name in events.contract_columns:
            if name not in needed:
                continue
            if name in events.map:
                column = events.map[name]
                columns[name] = self._typed(name, rows.columns[column], rows.kinds.get(column))
            elif name in events.constant:
                constant = pa.repeat(pa.scalar(events.constant[name]), len(rows))
                columns[name] = self._typed(name, constant, None)
        for name, expression in events.derivations.items():
            if name not in needed:
                continue
            derived = self._typed(name, self._evaluated(expression, rows, columns, "varchar"), None)
            if name in columns:
                is_null = null_mask(derived.values)
                remaining = tuple(replace(p, rows=p.rows & is_null) for p in columns[name].problems)
                derived = _TypedColumn(derived.values, remaining + derived.problems)
            columns[name] = derived
        return columns

    def _contract_columns(self, rows: RowBatch, rejections: Rejections) -> tuple[dict[str, _TypedColumn], pa.Array]:
        """Every contract column, typed; and the pseudonyms. Who, what, which and when are reported here."""
        columns = self._typed_columns(rows, MAPPABLE_COLUMNS)
        for name in ("user_id", "item_id", "behavior", "event_ts"):
            for problem in columns[name].problems:
                problem.apply_to(rejections)
        for name in ("category", "text"):
            columns.setdefault(name, _TypedColumn(pa.nulls(len(rows), pa.string())))
        for name in _NUMERIC:
            columns.setdefault(name, _TypedColumn(pa.nulls(len(rows), pa.float64())))
        return columns, self._pseudonyms.lookup(columns["user_id"].values)

    def _typed(self, name: str, values: pa.Array, kinds: NDArray[np.uint8] | None) -> _TypedColumn:
        if name in ("user_id", "item_id"):
            return self._ids(name, values, kinds)
        if name == "event_ts":
            micros, bad, absent = self._timestamps.read(values)
            stamps = pa.array(micros, mask=bad | absent).cast(pa.timestamp("us"))
            return _TypedColumn(
                stamps,
                (
                    _Problem(absent, "bad_timestamp", "no timestamp"),
                    _Problem(bad, "bad_timestamp", "no time between 1990 and 2100 in the source's form", values),
                ),
            )
        if name in _NUMERIC:
            numbers, bad = to_double(values)
            return _TypedColumn(numbers, (_Problem(bad, "bad_value", f"{name} is no finite number", values),))
        texts, _ = as_text(values)
        if name == "behavior":
            return self._behavior(texts)
        return _TypedColumn(blank_to_null(texts))

    def _ids(self, name: str, values: pa.Array, kinds: NDArray[np.uint8] | None) -> _TypedColumn:
        if kinds is None:
            values, kinds = as_text(values)
        ids, problems = validate_ids(values, kinds)
        missing = "missing_user" if name == "user_id" else "missing_item"
        return _TypedColumn(
            ids, tuple(_Problem(rows, found.reason or missing, f"{name} {found.detail}") for rows, found in problems)
        )

    def _behavior(self, texts: pa.Array) -> _TypedColumn:
        encoded = pc.dictionary_encode(texts)
        names = [self._behaviors.get(text) for text in encoded.dictionary.to_pylist()]
        behaviors = pa.array(names, pa.string()).take(encoded.indices)
        absent, unknown = null_mask(texts), null_mask(behaviors)
        return _TypedColumn(
            behaviors,
            (
                _Problem(absent, "unknown_behavior", "no behavior"),
                _Problem(unknown, "unknown_behavior", "not among the source's behaviors", texts),
            ),
        )

    def _evaluated(
        self, expression: Expression, rows: RowBatch, columns: dict[str, _TypedColumn], cast: str
    ) -> pa.Array:
        visible = {
            name: columns[name].values if name in COLUMN_TYPES and name in columns else rows.columns[name]
            for name in expression.columns.values()
        }
        try:
            return evaluate(self._connection, expression, visible, cast, len(rows))
        except ExpressionError as error:
            raise UnreadableFileError(f"expression does not fit the columns of this file: {error}") from error

    def _filled_from_catalogue(self, columns: dict[str, _TypedColumn]) -> dict[str, _TypedColumn]:
        """Missing categories, prices and texts from the items table."""
        if self._catalogue is None:
            return columns
        found = self._catalogue.lookup(columns["item_id"].values)
        return columns | {
            name: _TypedColumn(pc.coalesce(columns[name].values, values), columns[name].problems)
            for name, values in found.items()
        }

    def _apply_rules(self, rows: RowBatch, columns: dict[str, _TypedColumn], rejections: Rejections) -> None:
        for reason, rule in self._source.events.rules:
            matches = true_mask(self._evaluated(rule, rows, columns, "boolean"))
            rejections.reject(matches, reason, f"source rule: {rule.text}")

    def _event_ids(self, rows: RowBatch, columns: dict[str, _TypedColumn], pseudonyms: pa.Array) -> pa.Array:
        """32 hex: MD5 of the source's name and the identity fields, between separators that no id can hold.

        Free text is preceded by its length, so that two rows of different fields never make the same text.
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
        return evaluate(self._connection, Expression(sql, sql, {a: a for a in fields}), fields, "varchar", len(rows))


def _behavior_names(mapping: Mapping[str, str], *, derived: bool) -> dict[str, str]:
    """Contract behaviour of each delivered name; without a mapping, or by an expression, contract names stand too."""
    contract = {name: name for name in BEHAVIORS} if derived or not mapping else {}
    return contract | dict(mapping)


def _blank_erased(arrays: dict[str, pa.Array], erased: pa.Array) -> None:
    """Takes every byte of the `erased` rows out of the PARSED columns."""
    for name in _EVENT_COLUMNS:
        arrays[name] = pc.if_else(erased, pa.scalar(None, arrays[name].type), arrays[name])
    arrays["raw"] = pc.if_else(erased, pa.scalar(b"", pa.binary()), arrays["raw"])
    arrays["raw_sha256"] = pc.if_else(erased, pa.scalar(NOTHING_SHA256), arrays["raw_sha256"])


def _cap_raw(rows: RowBatch, rejected: BoolArray) -> tuple[pa.Array, pa.Array]:
    """Raw bytes up to the cap; SHA-256 of the whole for rejected and cut rows."""
    lengths = np.asarray(pc.binary_length(rows.raw))
    cut = lengths > RAW_CAP_BYTES
    digested = np.flatnonzero(rejected | cut)
    digests: list[str | None] = [None] * len(rows)
    for row, value in zip(digested.tolist(), rows.raw.take(pa.array(digested)).to_pylist(), strict=True):
        digests[row] = rows.digests.get(row) or hashlib.sha256(value).hexdigest()
    raw = rows.raw
    if cut.any():
        raw = pa.array([value[:RAW_CAP_BYTES] for value in raw.to_pylist()], pa.binary())
    return raw, pa.array(digests, pa.string())


def unreadable_file_row(
    context: ParseContext, source_file: SourceFile, why: str, head: bytes, sha256: str
) -> pa.RecordBatch:
    """The one rejected row that stands for a file of which nothing can be published."""
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
