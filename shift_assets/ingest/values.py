"""Delivered values to typed ones, on whole columns: text, numbers, timestamps.

A value that cannot be typed becomes null and is marked; a value that was not delivered becomes null unmarked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.ingest.expressions import Expression, evaluate
from shift_assets.ingest.rows import Kind
from shift_assets.ingest.source import TimestampForm
from shift_assets.ingest.zones import DAY_US, EARLIEST_US, LATEST_US, LocalCalendar

Mask = NDArray[np.bool_]

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?\s?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
_ISO_OFFSET = r"[T ][^Z+-]*(?:Z|[+-][0-9:]{2,5})$"
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NANOS_PER_MICRO = 1_000


def nulls_mask(array: pa.Array) -> Mask:
    return np.asarray(array.is_null())


def truth(array: pa.Array) -> Mask:
    """A boolean array as mask, null as False."""
    return np.asarray(pc.fill_null(array, False))


def as_text(array: pa.Array) -> tuple[pa.Array, NDArray[np.uint8]]:
    """Any delivered column as text, with the Kind of each value.

    Integral floats are written as integers. Times are ISO 8601; nested values have kind CONTAINER and no text.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_text(array.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts, code = array.cast(pa.string()), Kind.TEXT
    elif pa.types.is_integer(kind):
        texts, code = array.cast(pa.string()), Kind.NUMBER
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        texts, code = _number_text(array), Kind.NUMBER
    elif pa.types.is_boolean(kind):
        texts, code = array.cast(pa.string()), Kind.BOOLEAN
    elif pa.types.is_temporal(kind):
        texts, code = array.cast(pa.string()), Kind.TEXT
    elif pa.types.is_null(kind):
        texts, code = pa.nulls(len(array), pa.string()), Kind.NULL
    else:
        texts, code = pa.nulls(len(array), pa.string()), Kind.CONTAINER
    return texts, np.where(nulls_mask(array), Kind.NULL, code).astype(np.uint8)


def _number_text(array: pa.Array) -> pa.Array:
    def text(value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() else repr(value)
        return format(value, "f")

    return pa.array([text(value) for value in array.to_pylist()], pa.string())


def blank_to_null(texts: pa.Array) -> pa.Array:
    """Empty and all-space texts as null; others untouched."""
    empty = pc.equal(pc.binary_length(texts), 0)
    first_odd = pc.match_substring_regex(texts, r"^\s+$") if _any_starts_with_space(texts) else empty
    blank = pc.fill_null(pc.or_(empty, first_odd), False)
    return pc.if_else(blank, pa.scalar(None, pa.string()), texts) if pc.any(blank).as_py() else texts


def _any_starts_with_space(texts: pa.Array) -> bool:
    return bool(pc.any(pc.utf8_is_space(pc.utf8_slice_codeunits(texts, 0, 1))).as_py())


def to_double(values: pa.Array) -> tuple[pa.Array, Mask]:
    """Numbers as doubles, and which are no finite number. Numeric texts count, blank ones are null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        numbers, bad = pc.cast(values, pa.float64(), safe=False), np.zeros(len(values), dtype=bool)
    else:
        texts, kinds = as_text(values)
        texts = blank_to_null(texts)
        numeric = pc.match_substring_regex(texts, _NUMBER)
        plain = pc.if_else(numeric, texts, pa.scalar(None, pa.string()))
        numbers = _parsed(plain)
        bad = ~truth(pc.fill_null(numeric, True)) | (kinds == Kind.CONTAINER)
    finite = pc.fill_null(pc.is_finite(numbers), True)
    bad |= ~truth(finite)
    return pc.if_else(pa.array(bad), pa.scalar(None, pa.float64()), numbers), bad


def _parsed(texts: pa.Array) -> pa.Array:
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return pa.array([None if text is None else float(text) for text in texts.to_pylist()], pa.float64())


@dataclass(frozen=True, slots=True)
class TimestampReader:
    """Reads `event_ts` in one form; wall-clock times are of `calendar`."""

    form: TimestampForm
    calendar: LocalCalendar
    connection: object

    def read(self, values: pa.Array) -> tuple[NDArray[np.int64], Mask, Mask]:
        """UTC µs; which values could not be read, lie in a clock-change gap or outside 1990..2100; which were null."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_timestamp(values.type):
            micros, bad = self._instants(values)
        elif pa.types.is_date(values.type):
            days = values.cast(pa.date32()).cast(pa.int32())
            micros, bad = self._wall(np.asarray(pc.fill_null(days, 0)).astype(np.int64) * DAY_US)
        elif self.form.unit is not None:
            micros, bad = self._epoch(values)
        else:
            texts, _ = as_text(values)
            micros, bad = self._pattern(texts) if self.form.pattern is not None else self._iso(texts)
        absent = nulls_mask(values)
        outside = (micros < EARLIEST_US) | (micros >= LATEST_US)
        return micros, (bad | outside) & ~absent, absent

    def _instants(self, values: pa.Array) -> tuple[NDArray[np.int64], Mask]:
        ticks = np.asarray(pc.fill_null(values.cast(pa.int64()), 0))
        micros, bad = _scaled(ticks, values.type.unit)
        if values.type.tz is not None:
            return micros, bad
        utc, gap = self._wall(micros)
        return utc, gap | bad

    def _wall(self, micros: NDArray[np.int64]) -> tuple[NDArray[np.int64], Mask]:
        inside = (micros >= EARLIEST_US - DAY_US) & (micros < LATEST_US + DAY_US)
        utc, gap = self.calendar.to_utc(np.where(inside, micros, EARLIEST_US))
        return utc, gap | ~inside

    def _epoch(self, values: pa.Array) -> tuple[NDArray[np.int64], Mask]:
        unit = self.form.unit or "s"
        if pa.types.is_integer(values.type) and not pa.types.is_uint64(values.type):
            return _scaled(np.asarray(pc.fill_null(values.cast(pa.int64()), 0)), unit)
        if pa.types.is_string(values.type):
            digits = pc.ascii_is_decimal(values)
            short = pc.less_equal(pc.binary_length(values), 18)
            if pc.all(pc.and_(digits, short), min_count=0, skip_nulls=True).as_py():
                return _scaled(np.asarray(pc.fill_null(values.cast(pa.int64()), 0)), unit)
        return self._fractional_epoch(values, unit)

    @staticmethod
    def _fractional_epoch(values: pa.Array, unit: str) -> tuple[NDArray[np.int64], Mask]:
        """Epochs that are not all plain integers: exact where the value is one, to the double's precision where not."""
        texts, _ = as_text(values)
        micros, bad = np.zeros(len(values), dtype=np.int64), np.ones(len(values), dtype=bool)
        whole = truth(pc.match_substring_regex(texts, r"^[+-]?[0-9]{1,18}$"))
        if whole.any():
            ticks = pc.if_else(pa.array(whole), texts, pa.scalar("0")).cast(pa.int64())
            micros, bad = _scaled(np.asarray(ticks), unit)
            bad |= ~whole
        numbers, unread = to_double(values)
        broken = ~whole & ~unread & ~nulls_mask(numbers)
        scaled = np.asarray(pc.fill_null(numbers, 0.0)) * (_MICROS[unit] if unit in _MICROS else 1 / _NANOS_PER_MICRO)
        broken &= np.abs(scaled) < 2.0**62
        micros[broken] = np.round(scaled[broken]).astype(np.int64)
        bad[broken] = False
        return micros, bad

    def _pattern(self, texts: pa.Array) -> tuple[NDArray[np.int64], Mask]:
        pattern = self.form.pattern or ""
        quoted = pattern.replace("'", "''")
        found = self._sql(f"try_strptime(c0, '{quoted}')", texts, "timestamp")
        micros, bad = _micros_or_bad(found)
        if "%z" in pattern:
            return micros, bad
        utc, gap = self._wall(micros)
        return utc, gap | bad

    def _iso(self, texts: pa.Array) -> tuple[NDArray[np.int64], Mask]:
        shaped = pc.match_substring_regex(texts, _ISO)
        plain = pc.if_else(shaped, texts, pa.scalar(None, pa.string()))
        micros, bad = _micros_or_bad(self._sql("try_cast(c0 as timestamp)", plain, "timestamp"))
        utc, gap = self._wall(micros)
        with_offset = truth(pc.match_substring_regex(texts, _ISO_OFFSET))
        return np.where(with_offset, micros, utc), bad | (gap & ~with_offset)

    def _sql(self, sql: str, texts: pa.Array, cast: str) -> pa.Array:
        return evaluate(self.connection, Expression(sql, sql, {"c0": "value"}), {"value": texts}, cast, len(texts))  # type: ignore[arg-type]


def _micros_or_bad(stamps: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    ticks = stamps.cast(pa.timestamp("us")).cast(pa.int64())
    return np.asarray(pc.fill_null(ticks, 0)), nulls_mask(stamps)


def _scaled(ticks: NDArray[np.int64], unit: str) -> tuple[NDArray[np.int64], Mask]:
    """Epoch ticks as µs, rounded down; which lie so far out that they have none."""
    if unit == "ns":
        return ticks // _NANOS_PER_MICRO, np.zeros(len(ticks), dtype=bool)
    factor = _MICROS[unit]
    far = np.abs(ticks) > LATEST_US // factor + 1
    return np.where(far, 0, ticks) * factor, far
