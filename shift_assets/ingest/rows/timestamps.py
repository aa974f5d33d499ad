"""Convert raw timestamps to UTC microseconds: epochs, strptime patterns, ISO 8601, Parquet types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from duckdb import DuckDBPyConnection
from jaxtyping import Bool, Int64

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.ingest.rows.values import NULL_TEXT, as_text, null_mask, to_double, true_mask
from shift_assets.ingest.rows.zones import DAY_US, EARLIEST_US, LATEST_US, SECOND_US, LocalCalendar
from shift_assets.ingest.source.config import TimestampFormat
from shift_assets.ingest.source.expressions import Expression, evaluate

_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?\s?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)


_ISO_OFFSET = r"\s?(?:Z|[+-][0-9]{2}|[+-][0-9]{2}:?[0-9]{2})$"


_ISO_OFFSET_PARTS = r"(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?$"


_LARGEST_OFFSET_HOURS = 15


_SAFE_DIGITS = 18  # any number with this many digits fits into 64 bits


_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}


_NANOS_PER_MICRO = 1_000


@dataclass(frozen=True, slots=True)
class TimestampReader:
    """Reads `event_ts` in one format; times without an offset are wall-clock times of `calendar`."""

    timestamp_format: TimestampFormat
    calendar: LocalCalendar
    connection: DuckDBPyConnection

    def read(
        self, values: pa.Array
    ) -> tuple[Int64[Int64Array, " row"], Bool[BoolArray, " row"], Bool[BoolArray, " row"]]:
        """Convert a column of timestamps.

        Returns:
            UTC microseconds since 1970; which values are invalid (unreadable, skipped by a clock change or outside
            1990 to 2100); and which were null.
        """
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_timestamp(values.type):
            micros, bad = self._instants(values)
        elif pa.types.is_date(values.type):
            days = values.cast(pa.date32()).cast(pa.int32())
            micros, bad = self._wall(np.asarray(pc.fill_null(days, 0)).astype(np.int64) * DAY_US)
        elif self.timestamp_format.unit is not None:
            micros, bad = self._epoch(values)
        else:
            texts, _ = as_text(values)
            micros, bad = self._pattern(texts) if self.timestamp_format.pattern is not None else self._iso(texts)
        absent = null_mask(values)
        outside = (micros < EARLIEST_US) | (micros >= LATEST_US)
        return micros, (bad | outside) & ~absent, absent

    def _instants(self, values: pa.Array) -> tuple[Int64Array, BoolArray]:
        ticks = np.asarray(pc.fill_null(values.cast(pa.int64()), 0))
        micros, bad = _scaled(ticks, values.type.unit)
        if values.type.tz is not None:
            return micros, bad
        utc, gap = self._wall(micros)
        return utc, gap | bad

    def _wall(self, micros: Int64Array) -> tuple[Int64Array, BoolArray]:
        inside = (micros >= EARLIEST_US - DAY_US) & (micros < LATEST_US + DAY_US)
        utc, gap = self.calendar.to_utc(np.where(inside, micros, EARLIEST_US))
        return utc, gap | ~inside

    def _epoch(self, values: pa.Array) -> tuple[Int64Array, BoolArray]:
        unit = self.timestamp_format.unit or "s"
        if pa.types.is_integer(values.type) and not pa.types.is_uint64(values.type):
            return _scaled(np.asarray(pc.fill_null(values.cast(pa.int64()), 0)), unit)
        if pa.types.is_string(values.type):
            digits = pc.ascii_is_decimal(values)
            short = pc.less_equal(pc.binary_length(values), _SAFE_DIGITS)
            if pc.all(pc.and_(digits, short), min_count=0, skip_nulls=True).as_py():
                return _scaled(np.asarray(pc.fill_null(values.cast(pa.int64()), 0)), unit)
        return self._fractional_epoch(values, unit)

    def _fractional_epoch(self, values: pa.Array, unit: str) -> tuple[Int64Array, BoolArray]:
        """Convert epochs that are not all plain integers: integers exactly, others to a double's precision."""
        texts, _ = as_text(values)
        integers = pc.if_else(pc.match_substring_regex(texts, r"^[+-]?[0-9]{1,19}$"), texts, NULL_TEXT)
        ticks = self._sql("try_cast(c0 as bigint)", integers, "bigint")
        micros, bad = _scaled(np.asarray(pc.fill_null(ticks, 0)), unit)
        whole = ~null_mask(ticks)
        bad |= ~whole
        numbers, not_numeric = to_double(values)
        scaled = np.asarray(pc.fill_null(numbers, 0.0)) * (_MICROS[unit] if unit in _MICROS else 1 / _NANOS_PER_MICRO)
        fractional = null_mask(integers) & ~not_numeric & ~null_mask(numbers) & (np.abs(scaled) < 2.0**62)
        micros = np.where(fractional, np.round(np.where(fractional, scaled, 0)).astype(np.int64), micros)
        return micros, bad & ~fractional

    def _pattern(self, texts: pa.Array) -> tuple[Int64Array, BoolArray]:
        pattern = self.timestamp_format.pattern or ""
        quoted = pattern.replace("'", "''")
        stamps = self._sql(f"try_strptime(c0, '{quoted}')", texts, "timestamp")
        micros, bad = _micros_or_bad(stamps)
        if "%z" in pattern:
            return micros, bad
        utc, gap = self._wall(micros)
        return utc, gap | bad

    def _iso(self, texts: pa.Array) -> tuple[Int64Array, BoolArray]:
        iso_texts = pc.if_else(pc.match_substring_regex(texts, _ISO), texts, NULL_TEXT)
        with_offset = true_mask(pc.match_substring_regex(iso_texts, ":.*(?:Z|[+-][0-9:]*)$"))
        without_offset = iso_texts
        if with_offset.any():
            without_offset = pc.if_else(
                pa.array(with_offset), pc.replace_substring_regex(iso_texts, _ISO_OFFSET, ""), iso_texts
            )
        micros, bad = _micros_or_bad(self._sql("try_cast(c0 as timestamp)", without_offset, "timestamp"))
        utc, gap = self._wall(micros)
        if not with_offset.any():
            return utc, bad | gap
        offsets, wrong = _offsets(pc.if_else(pa.array(with_offset), iso_texts, NULL_TEXT))
        return np.where(with_offset, micros - offsets, utc), bad | wrong | (gap & ~with_offset)

    def _sql(self, sql: str, texts: pa.Array, cast: str) -> pa.Array:
        return evaluate(self.connection, Expression(sql, sql, {"c0": "value"}), {"value": texts}, cast, len(texts))


def _micros_or_bad(stamps: pa.Array) -> tuple[Int64Array, BoolArray]:
    ticks = stamps.cast(pa.timestamp("us")).cast(pa.int64())
    return np.asarray(pc.fill_null(ticks, 0)), null_mask(stamps)


def _offsets(texts: pa.Array) -> tuple[Int64Array, BoolArray]:
    """Return the UTC offsets (µs) at the end of ISO texts (`Z` and null: 0), and which are invalid."""
    parts = pc.extract_regex(texts, _ISO_OFFSET_PARTS)
    sign = np.where(true_mask(pc.equal(pc.struct_field(parts, "sign"), "-")), -1, 1)
    hours, minutes = (_small_number(pc.struct_field(parts, name)) for name in ("hours", "minutes"))
    wrong = (hours > _LARGEST_OFFSET_HOURS) | (minutes > 59)
    return sign * (hours * 60 + minutes) * 60 * SECOND_US, wrong


def _small_number(texts: pa.Array) -> Int64Array:
    given = pc.if_else(pc.equal(pc.binary_length(texts), 0), NULL_TEXT, texts)
    return np.asarray(pc.fill_null(given.cast(pa.int64()), 0))


def _scaled(ticks: Int64Array, unit: str) -> tuple[Int64Array, BoolArray]:
    """Return epoch ticks as µs, rounded down, and which are too far out to be represented."""
    if unit == "ns":
        return ticks // _NANOS_PER_MICRO, np.zeros(len(ticks), dtype=bool)
    factor = _MICROS[unit]
    far = np.abs(ticks) > LATEST_US // factor + 1
    return np.where(far, 0, ticks) * factor, far
