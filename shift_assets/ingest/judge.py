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

from shift_assets.contracts import BEHAVIORS
from shift_assets.days import day_number
from shift_assets.ingest.context import ParseContext
from shift_assets.ingest.expressions import Expression, ExpressionError, evaluate, new_connection
from shift_assets.ingest.files import Delivered, UnreadableFileError
from shift_assets.ingest.identifiers import checked_ids, tells_of
from shift_assets.ingest.parsed import PARSED, RAW_CAP_BYTES
from shift_assets.ingest.rows import Rows
from shift_assets.ingest.segments import segment_of_row
from shift_assets.ingest.source import MAPPED, TYPED
from shift_assets.ingest.values import TimestampReader, as_text, blank_to_null, nulls_mask, to_double, truth
from shift_assets.ingest.verdicts import Verdicts, shown
from shift_assets.ingest.zones import local_calendar
from shift_assets.privacy.erase import ERASED_DETAIL, ERASED_REASON, NOTHING_SHA256

_NUMERIC = ("quantity", "price", "rating")
_NO_STRING = pa.scalar(None, pa.string())
_OF_EVENT = tuple(part.name for part in PARSED if part.nullable and part.name not in ("reason", "detail", "raw_sha256"))

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Problem:
    """Rows that fail one question; `value` is shown in the detail, where it may be."""

    rows: Mask
    reason: str
    detail: str
    value: pa.Array | None = None

    def reported(self, verdicts: Verdicts) -> None:
        if self.value is None:
            verdicts.reject(self.rows, self.reason, self.detail)
        else:
            values = self.value
            verdicts.reject(self.rows, self.reason, lambda row: f"{self.detail}: {shown(values[row].as_py())}")


@dataclass(frozen=True, slots=True)
class _Typed:
    """One contract column: its values, null where not delivered or wrong, and what is wrong with which rows."""

    values: pa.Array
    problems: tuple[_Problem, ...] = ()


class Judge:
    """Turns the rows of one delivered file into PARSED rows."""

    def __init__(self, context: ParseContext, delivered: Delivered, sha256: str) -> None:
        source = context.source
        self._source, self._delivered, self._sha256 = source, delivered, sha256
        self._folder_day = day_number(delivered.folder_day)
        self._lateness_days = context.lateness_days
        self._calendar = local_calendar(source.timezone)
        self._connection = new_connection()
        form = source.events.timestamp
        wall = local_calendar(form.zone) if form.zone else self._calendar
        self._timestamps = TimestampReader(form, wall, self._connection)
        self._behaviors = _behavior_names(source.events.behaviors, derived="behavior" in source.events.derive)
        self._pseudonyms, self._choose, self._catalogue = context.pseudonyms, context.chooser, context.catalogue
        self._context = context

    def close(self) -> None:
        self._connection.close()

    def parsed(self, rows: Rows) -> pa.RecordBatch:
        """One PARSED row per row, in order."""
        verdicts = Verdicts(len(rows))
        for index, fault in rows.faults.items():
            verdicts.reject_row(index, fault.reason, fault.detail)
        columns, pseudonyms = self._contract_columns(rows, verdicts)
        stamps = columns["event_ts"].values
        days = self._calendar.to_day(np.asarray(pc.fill_null(stamps.cast(pa.int64()), 0)))
        timed = ~nulls_mask(stamps)
        early, late = days < self._folder_day - self._lateness_days, days > self._folder_day
        verdicts.reject(timed & (early | late), "wrong_day", lambda row: self._wrong_day(int(days[row])))
        own_day = timed & ~(early | late)
        for name in _NUMERIC:
            for problem in columns[name].problems:
                problem.reported(verdicts)
        columns = self._repaired(columns)
        self._apply_rules(rows, columns, verdicts)
        erased = self._erased(rows, pseudonyms, verdicts)
        verdicts.overrule(erased, ERASED_REASON, ERASED_DETAIL)
        reason, detail = verdicts.columns()
        accepted = pa.array(~verdicts.rejected)
        known = ~nulls_mask(pseudonyms) & ~erased
        raw, digests = _capped(rows, verdicts.rejected)
        event_ids = self._event_ids(rows, columns, pseudonyms)
        arrays = {
            "folder_day": pa.repeat(pa.scalar(self._folder_day, pa.int32()), len(rows)).cast(pa.date32()),
            "source_file": pa.repeat(pa.scalar(self._delivered.path), len(rows)),
            "source_row": pa.array(rows.numbers),
            "day": pa.array(np.where(own_day, days, self._folder_day).astype(np.int32)).cast(pa.date32()),
            "segment": self._choose.segments(rows, self._delivered.path, pseudonyms, known),
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
            _forget(arrays, pa.array(erased))
        return pa.RecordBatch.from_arrays([arrays[name] for name in PARSED.names], schema=PARSED)

    def _erased(self, rows: Rows, pseudonyms: pa.Array, verdicts: Verdicts) -> Mask:
        """Rows of erased users: their own, and rejected ones of nobody known whose bytes tell of one."""
        listed = self._context.erased
        if not listed:
            return np.zeros(len(rows), dtype=bool)
        erased = truth(pc.is_in(pseudonyms, pa.array(sorted(listed), pa.string())))
        doubtful = np.flatnonzero(verdicts.rejected & nulls_mask(pseudonyms))
        for row, raw in zip(doubtful.tolist(), rows.raw.take(pa.array(doubtful)).to_pylist(), strict=True):
            erased[row] = tells_of(raw, self._context.key, listed)
        return erased

    def _wrong_day(self, day: int) -> str:
        folder = self._delivered.folder_day
        local = np.datetime64(day, "D")
        return f"local day {local} in the folder of {folder}, which may hold {self._lateness_days} days before it"

    def local_days(self, rows: Rows) -> tuple[NDArray[np.int32], Mask]:
        """Local day (days of the epoch) of each row, and of which rows it can be told."""
        events = self._source.events
        needed = {"event_ts"}
        if "event_ts" in events.derivations:
            needed |= set(events.derivations["event_ts"].columns.values())
        stamps = self._typed_columns(rows, needed)["event_ts"].values
        days = self._calendar.to_day(np.asarray(pc.fill_null(stamps.cast(pa.int64()), 0)))
        told = ~nulls_mask(stamps)
        told[list(rows.faults)] = False
        return days, told

    def _typed_columns(self, rows: Rows, needed: Collection[str]) -> dict[str, _Typed]:
        """Those of the contract columns `needed` that the source fills: mapped or constant, then derived."""
        events = self._source.events
        columns: dict[str, _Typed] = {}
        for name in events.contract_columns:
            if name not in needed:
                continue
            if name in events.map:
                delivered = events.map[name]
                columns[name] = self._typed(name, rows.columns[delivered], rows.kinds.get(delivered))
            elif name in events.constant:
                constant = pa.repeat(pa.scalar(events.constant[name]), len(rows))
                columns[name] = self._typed(name, constant, None)
        for name, expression in events.derivations.items():
            if name not in needed:
                continue
            derived = self._typed(name, self._evaluated(expression, rows, columns, "varchar"), None)
            if name in columns:
                nothing = nulls_mask(derived.values)
                kept = tuple(replace(p, rows=p.rows & nothing) for p in columns[name].problems)
                derived = _Typed(derived.values, kept + derived.problems)
            columns[name] = derived
        return columns

    def _contract_columns(self, rows: Rows, verdicts: Verdicts) -> tuple[dict[str, _Typed], pa.Array]:
        """Every contract column, typed; and the pseudonyms. Who, what, which and when are reported here."""
        columns = self._typed_columns(rows, MAPPED)
        for name in ("user_id", "item_id", "behavior", "event_ts"):
            for problem in columns[name].problems:
                problem.reported(verdicts)
        for name in ("category", "text"):
            columns.setdefault(name, _Typed(pa.nulls(len(rows), pa.string())))
        for name in _NUMERIC:
            columns.setdefault(name, _Typed(pa.nulls(len(rows), pa.float64())))
        return columns, self._pseudonyms.of(columns["user_id"].values)

    def _typed(self, name: str, values: pa.Array, kinds: NDArray[np.uint8] | None) -> _Typed:
        if name in ("user_id", "item_id"):
            return self._ids(name, values, kinds)
        if name == "event_ts":
            micros, bad, absent = self._timestamps.read(values)
            stamps = pa.array(micros, mask=bad | absent).cast(pa.timestamp("us"))
            return _Typed(
                stamps,
                (
                    _Problem(absent, "bad_timestamp", "no timestamp"),
                    _Problem(bad, "bad_timestamp", "no time between 1990 and 2100 in the source's form", values),
                ),
            )
        if name in _NUMERIC:
            numbers, bad = to_double(values)
            return _Typed(numbers, (_Problem(bad, "bad_value", f"{name} is no finite number", values),))
        texts, _ = as_text(values)
        if name == "behavior":
            return self._behavior(texts)
        return _Typed(blank_to_null(texts))

    def _ids(self, name: str, values: pa.Array, kinds: NDArray[np.uint8] | None) -> _Typed:
        if kinds is None:
            values, kinds = as_text(values)
        ids, problems = checked_ids(values, kinds)
        missing = "missing_user" if name == "user_id" else "missing_item"
        return _Typed(
            ids, tuple(_Problem(rows, found.reason or missing, f"{name} {found.detail}") for rows, found in problems)
        )

    def _behavior(self, texts: pa.Array) -> _Typed:
        encoded = pc.dictionary_encode(texts)
        names = [self._behaviors.get(text) for text in encoded.dictionary.to_pylist()]
        behaviors = pa.array(names, pa.string()).take(encoded.indices)
        absent, unknown = nulls_mask(texts), nulls_mask(behaviors)
        return _Typed(
            behaviors,
            (
                _Problem(absent, "unknown_behavior", "no behavior"),
                _Problem(unknown, "unknown_behavior", "not among the source's behaviors", texts),
            ),
        )

    def _evaluated(self, expression: Expression, rows: Rows, columns: dict[str, _Typed], cast: str) -> pa.Array:
        visible = {
            name: columns[name].values if name in TYPED and name in columns else rows.columns[name]
            for name in expression.columns.values()
        }
        try:
            return evaluate(self._connection, expression, visible, cast, len(rows))
        except ExpressionError as error:
            raise UnreadableFileError(f"expression does not fit the columns of this file: {error}") from error

    def _repaired(self, columns: dict[str, _Typed]) -> dict[str, _Typed]:
        """Missing categories, prices and texts from the items table."""
        if self._catalogue is None:
            return columns
        found = self._catalogue.of(columns["item_id"].values)
        return columns | {
            name: _Typed(pc.coalesce(columns[name].values, values), columns[name].problems)
            for name, values in found.items()
        }

    def _apply_rules(self, rows: Rows, columns: dict[str, _Typed], verdicts: Verdicts) -> None:
        for reason, rule in self._source.events.rules:
            hit = truth(self._evaluated(rule, rows, columns, "boolean"))
            verdicts.reject(hit, reason, f"source rule: {rule.text}")

    def _event_ids(self, rows: Rows, columns: dict[str, _Typed], pseudonyms: pa.Array) -> pa.Array:
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


def _behavior_names(delivered: Mapping[str, str], *, derived: bool) -> dict[str, str]:
    """Contract behaviour of each delivered name; without a mapping, or by an expression, contract names stand too."""
    contract = {name: name for name in BEHAVIORS} if derived or not delivered else {}
    return contract | dict(delivered)


def _forget(arrays: dict[str, pa.Array], erased: pa.Array) -> None:
    """Takes every byte of the `erased` rows out of the PARSED columns."""
    for name in _OF_EVENT:
        arrays[name] = pc.if_else(erased, pa.scalar(None, arrays[name].type), arrays[name])
    arrays["raw"] = pc.if_else(erased, pa.scalar(b"", pa.binary()), arrays["raw"])
    arrays["raw_sha256"] = pc.if_else(erased, pa.scalar(NOTHING_SHA256), arrays["raw_sha256"])


def _capped(rows: Rows, rejected: Mask) -> tuple[pa.Array, pa.Array]:
    """Raw bytes up to the cap; SHA-256 of the whole for rejected and cut rows."""
    lengths = np.asarray(pc.binary_length(rows.raw))
    cut = lengths > RAW_CAP_BYTES
    told = np.flatnonzero(rejected | cut)
    digests: list[str | None] = [None] * len(rows)
    for row, value in zip(told.tolist(), rows.raw.take(pa.array(told)).to_pylist(), strict=True):
        digests[row] = rows.digests.get(row) or hashlib.sha256(value).hexdigest()
    raw = rows.raw
    if cut.any():
        raw = pa.array([value[:RAW_CAP_BYTES] for value in raw.to_pylist()], pa.binary())
    return raw, pa.array(digests, pa.string())


def unreadable_row(context: ParseContext, delivered: Delivered, why: str, head: bytes, sha256: str) -> pa.RecordBatch:
    """The one rejected row that stands for a file of which nothing can be published."""
    raw = b"" if context.erased and tells_of(head, context.key, context.erased) else head[:RAW_CAP_BYTES]
    row = {
        "folder_day": delivered.folder_day,
        "source_file": delivered.path,
        "source_row": 0,
        "day": delivered.folder_day,
        "segment": segment_of_row(context.source.segment_keys, delivered.path, np.array([0]))[0],
        "segment_known": False,
        "reason": "unreadable_file",
        "detail": why,
        "raw": raw,
        "raw_sha256": sha256,
    }
    return pa.RecordBatch.from_pylist([row], schema=PARSED)
