"""Events of a Parquet or CSV file with any column names, counted per user, day and name: no installation needed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from shift_assets.arrays import Int64Array
from shift_assets.errors import UserError

_PARQUET = b"PAR1"
_MICROSECONDS = 86_400 * 10**6
_DAY_NUMBERS, _SECONDS = 10**5, 10**11
"""Integers below these are days since 1970-01-01, or seconds; larger ones are milliseconds."""


class EventFileError(UserError):
    """A file of events cannot be used; the message names file and column and says what to do."""


class EventFile(NamedTuple):
    """Events counted per user, day and name, sorted by these, and the rows that lack one of them."""

    events: pa.Table  # user_id, day (days since 1970-01-01), name, events
    incomplete: int


def read_events(path: Path, *, user: str, day: str, name: str) -> EventFile:
    """Read one row per event.

    Args:
        path: Parquet, or comma-separated CSV with a header; plain or gzip.
        user: Column of the user.
        day: Column of the day: dates, timestamps (of UTC, or counted on their UTC day), text that begins with
            YYYY-MM-DD, or integers: days, seconds or milliseconds since 1970-01-01.
        name: Column of the category or the item.

    Raises:
        EventFileError: The file cannot be read, a column is missing, or a day is in another form.
    """
    table = _read(path, (user, day, name))
    columns = {"user_id": table[user], "day": table[day], "name": table[name]}
    try:
        texts = {key: columns[key].cast(pa.string()) for key in ("user_id", "name")}
    except pa.ArrowException as error:
        raise EventFileError(f"{path}: users and names must be text or numbers ({error})") from error
    complete = pc.is_valid(columns["day"])
    for values in texts.values():
        complete = pc.and_(complete, pc.fill_null(pc.not_equal(values, ""), False))
    days = _day_numbers(columns["day"].filter(complete), f"{path}: column {day!r}")
    keyed = pa.table({**{key: values.filter(complete) for key, values in texts.items()}, "day": days})
    counted = keyed.group_by(["user_id", "day", "name"]).aggregate([([], "count_all")])
    events = counted.rename_columns(["user_id", "day", "name", "events"])
    in_order = events.sort_by([(key, "ascending") for key in ("user_id", "day", "name")])
    return EventFile(in_order, table.num_rows - keyed.num_rows)


def _read(path: Path, wanted: tuple[str, ...]) -> pa.Table:
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
        if is_parquet:
            names = pq.read_schema(path).names
        else:
            with pa_csv.open_csv(path) as reader:
                names = reader.schema.names
        lacking = [name for name in wanted if name not in names]
        if lacking:
            raise EventFileError(
                f"{path}: no column {', '.join(map(repr, lacking))}; there are: {', '.join(names)}. "
                "Name them with --columns and --category"
            )
        columns = list(dict.fromkeys(wanted))
        if is_parquet:
            return pq.read_table(path, columns=columns)
        options = pa_csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True
        )
        return pa_csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise EventFileError(
            f"{path}: not a readable Parquet file, nor a comma-separated CSV with a header ({error})"
        ) from error


def _day_numbers(values: pa.ChunkedArray, where: str) -> Int64Array:
    """Days since 1970-01-01."""
    try:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            is_number = bool(pc.all(pc.match_substring_regex(values, r"^-?\d+$")).as_py())
            values = values.cast(pa.int64()) if is_number else pc.utf8_slice_codeunits(values, 0, 10).cast(pa.date32())
        if pa.types.is_integer(values.type):
            number = values.cast(pa.int64()).to_numpy()
            unit = np.select([np.abs(number) < _DAY_NUMBERS, np.abs(number) < _SECONDS], [1, 86_400], 86_400_000)
            return np.asarray(number // unit)
        if pa.types.is_date(values.type):
            return np.asarray(values.cast(pa.date32()).cast(pa.int32()).to_numpy(), np.int64)
        if pa.types.is_timestamp(values.type):
            moments = values.cast(pa.timestamp("us", values.type.tz), safe=False).cast(pa.int64())
            return np.asarray(moments.to_numpy() // _MICROSECONDS)
    except pa.ArrowInvalid as error:
        raise EventFileError(f"{where}: {error}; write days as YYYY-MM-DD, or as seconds since 1970-01-01") from error
    raise EventFileError(f"{where} holds {values.type}; expected dates, timestamps, text or integers")
