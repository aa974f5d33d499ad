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
from shift_assets.ingest.zones import DAY_US, EARLIEST_US, LATEST_US, SECOND_US, LocalCalendar

Mask = NDArray[np.bool_]

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?\s?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
_ISO_OFFSET = r"\s?(?:Z|[+-][0-9]{2}|[+-][0-9]{2}:?[0-9]{2})$"
_ISO_OFFSET_PARTS = r"(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?$"
_LARGEST_OFFSET_HOURS = 15
_SAFE_DIGITS = 18  # any number of so many digits fits into 64 bits
_NO_TEXT = pa.scalar(None, pa.string())
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
    return pc.if_else(blank, _NO_TEXT, texts) if pc.any(blank).as_py() else texts


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
        plain = pc.if_else(numeric, texts, _NO_TEXT)
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
            short = pc.less_equal(pc.binary_length(values), _SAFE_DIGITS)
            if pc.all(pc.and_(digits, short), min_count=0, skip_nulls=True).as_py():
                return _scaled(np.asarray(pc.fill_null(values.cast(pa.int64()), 0)), unit)
        return self._fractional_epoch(values, unit)

    def _fractional_epoch(self, values: pa.Array, unit: str) -> tuple[NDArray[np.int64], Mask]:
        """Epochs that are not all plain integers: exact where the value is one, to the double's precision where not."""
        texts, _ = as_text(values)
        integers = pc.if_else(pc.match_substring_regex(texts, r"^[+-]?[0-9]{1,19}$"), texts, _NO_TEXT)
        ticks = self._sql("try_cast(c0 as bigint)", integers, "bigint")
        micros, bad = _scaled(np.asarray(pc.fill_null(ticks, 0)), unit)
        whole = ~nulls_mask(ticks)
        bad |= ~whole
        numbers, unread = to_double(values)
        scaled = np.asarray(pc.fill_null(numbers, 0.0)) * (_MICROS[unit] if unit in _MICROS else 1 / _NANOS_PER_MICRO)
        broken = nulls_mask(integers) & ~unread & ~nulls_mask(numbers) & (np.abs(scaled) < 2.0**62)
        micros = np.where(broken, np.round(np.where(broken, scaled, 0)).astype(np.int64), micros)
        return micros, bad & ~broken

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
        shaped = pc.if_else(pc.match_substring_regex(texts, _ISO), texts, _NO_TEXT)
        with_offset = truth(pc.match_substring_regex(shaped, ":.*(?:Z|[+-][0-9:]*)$"))
        walls = shaped
        if with_offset.any():
            walls = pc.if_else(pa.array(with_offset), pc.replace_substring_regex(shaped, _ISO_OFFSET, ""), shaped)
        micros, bad = _micros_or_bad(self._sql("try_cast(c0 as timestamp)", walls, "timestamp"))
        utc, gap = self._wall(micros)
        if not with_offset.any():
            return utc, bad | gap
        offsets, wrong = _offsets(pc.if_else(pa.array(with_offset), shaped, _NO_TEXT))
        return np.where(with_offset, micros - offsets, utc), bad | wrong | (gap & ~with_offset)

    def _sql(self, sql: str, texts: pa.Array, cast: str) -> pa.Array:
        return evaluate(self.connection, Expression(sql, sql, {"c0": "value"}), {"value": texts}, cast, len(texts))  # type: ignore[arg-type]


def _micros_or_bad(stamps: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    ticks = stamps.cast(pa.timestamp("us")).cast(pa.int64())
    return np.asarray(pc.fill_null(ticks, 0)), nulls_mask(stamps)


def _offsets(texts: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    """Offsets from UTC, µs, at the end of ISO texts (`Z` and null: 0); and which are none."""
    parts = pc.extract_regex(texts, _ISO_OFFSET_PARTS)
    sign = np.where(truth(pc.equal(pc.struct_field(parts, "sign"), "-")), -1, 1)
    hours, minutes = (_small_number(pc.struct_field(parts, name)) for name in ("hours", "minutes"))
    wrong = (hours > _LARGEST_OFFSET_HOURS) | (minutes > 59)
    return sign * (hours * 60 + minutes) * 60 * SECOND_US, wrong


def _small_number(texts: pa.Array) -> NDArray[np.int64]:
    given = pc.if_else(pc.equal(pc.binary_length(texts), 0), _NO_TEXT, texts)
    return np.asarray(pc.fill_null(given.cast(pa.int64()), 0))


def _scaled(ticks: NDArray[np.int64], unit: str) -> tuple[NDArray[np.int64], Mask]:
    """Epoch ticks as µs, rounded down; which lie so far out that they have none."""
    if unit == "ns":
        return ticks // _NANOS_PER_MICRO, np.zeros(len(ticks), dtype=bool)
    factor = _MICROS[unit]
    far = np.abs(ticks) > LATEST_US // factor + 1
    return np.where(far, 0, ticks) * factor, far
