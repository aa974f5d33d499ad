"""Delimiter-separated text, strictly: every record has every field, a quote opens a field or is an error.

Lines without quotes are split by array operations over a whole block; records with quotes, which may run over
lines, one by one. Of a record whose quote never closes only the line where it opens is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.ingest.readers.byte_arrays import bytes_of, slices
from shift_assets.ingest.readers.lines import (
    BYTE_ORDER_MARK,
    LongLine,
    line_blocks,
    line_bounds,
    long_line_row,
    non_blank_lines,
)
from shift_assets.ingest.readers.opened_file import UnreadableFileError
from shift_assets.ingest.readers.row_batch import Rejection, RowBatch
from shift_assets.ingest.source.config import CsvDialect

RECORD_CAP_BYTES = 64 * 1024
RECORD_CAP_LINES = 100
"""A quote that has not closed within these will not: the field was never meant to be quoted."""

_QUOTE = b'"'
_BOM_INSIDE = Rejection("malformed", "a byte order mark inside the file")
_NUL_INSIDE = Rejection("malformed", "a NUL character")


def read_csv_lines(
    chunks: Iterable[bytes], dialect: CsvDialect, wanted: tuple[str, ...], *, fast: bool = True
) -> Iterator[RowBatch]:
    """The records of a CSV file, with the values of the `wanted` columns; empty unquoted fields are null.

    Raises UnreadableFileError where the header lacks a wanted column or names one twice.
    """
    names = dialect.columns
    waiting, first_line = b"", 1
    for block in line_blocks(chunks):
        if isinstance(block, LongLine):
            if names is None:
                raise UnreadableFileError("the header line is longer than a line may be")
            if waiting:
                yield _Block(waiting, first_line, dialect, names, final=True, fast=fast).rows(wanted)
                waiting = b""
            yield long_line_row(block, wanted)
            continue
        data, first_line = waiting + block.data, first_line if waiting else block.first_line
        if names is None:
            names, data, lines = _header(data, dialect, wanted)
            first_line += lines
        if names is not None and data:
            part = _Block(data, first_line, dialect, names, final=False, fast=fast)
            rows = part.rows(wanted)
            if len(rows):
                yield rows
            waiting, first_line = part.rest, part.rest_line
    if waiting and names is not None:
        yield _Block(waiting, first_line, dialect, names, final=True, fast=fast).rows(wanted)


def header_of(line: bytes, dialect: CsvDialect) -> tuple[str, ...]:
    """The column names in a header line; raises UnreadableFileError where they are none or not distinct.

    What stands in the line is never told: where the header is missing it is a row, and names a user.
    """
    record = _record(line + b"\n", 0, len(line), len(line), dialect.delimiter.encode())
    if record is None or record.rejection is not None:
        why = record.rejection.detail if record and record.rejection else "a quote never closes"
        raise UnreadableFileError(f"the header cannot be read: {why}")
    names = tuple(text or "" for text in record.texts)
    duplicates = [position for position, name in enumerate(names, 1) if names.count(name) > 1]
    if duplicates:
        raise UnreadableFileError(f"columns {', '.join(map(str, duplicates))} of the header have the same name")
    return names


def _header(data: bytes, dialect: CsvDialect, wanted: tuple[str, ...]) -> tuple[tuple[str, ...] | None, bytes, int]:
    """Column names, the data after their line, and the number of lines passed; no names where all is blank."""
    starts, ends = line_bounds(data)
    non_blank = np.flatnonzero(non_blank_lines(data, starts, ends))
    if not len(non_blank):
        return None, b"", len(starts)
    line = int(non_blank[0])
    names = header_of(data[starts[line] : ends[line]], dialect)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UnreadableFileError(
            f"the header lacks {', '.join(map(repr, missing))}; are the {len(names)} fields of line {line + 1} names?"
        )
    return names, data[data.index(b"\n", ends[line]) + 1 :], line + 1


@dataclass(slots=True)
class _Record:
    """One record read by itself: where it ends in the data, and its fields or why it is none."""

    end: int
    texts: list[str | None]
    rejection: Rejection | None = None


@dataclass
class _Block:
    """Whole lines of a file; `rest` is what a quote, still open at their end, leaves for the next block."""

    data: bytes
    first_line: int
    dialect: CsvDialect
    names: tuple[str, ...]
    final: bool
    fast: bool
    rest: bytes = b""
    rest_line: int = 0

    def rows(self, wanted: tuple[str, ...]) -> RowBatch:
        starts, ends = line_bounds(self.data)
        unquoted = non_blank_lines(self.data, starts, ends)
        records = self._read_quoted(starts, ends, unquoted)
        lines = np.flatnonzero(unquoted)
        raw = slices(pa.py_buffer(self.data), starts[lines], ends[lines], pa.binary())
        columns, rejections = self._split(raw, wanted)
        if not records:
            return RowBatch(self.first_line + lines, raw, columns, {}, rejections)
        quoted_lines = np.array(list(records), dtype=np.int64)
        order = np.argsort(np.concatenate([lines, quoted_lines]))
        sorted_position = np.argsort(order)
        rejections = {int(sorted_position[row]): rejection for row, rejection in rejections.items()}
        for position, record in enumerate(records.values()):
            if record.rejection is not None:
                rejections[int(sorted_position[len(lines) + position])] = record.rejection
        pieces = [self.data[starts[line] : record.end] for line, record in records.items()]
        take = pa.array(order)
        for name in wanted:
            index = self.names.index(name)
            texts = [None if record.rejection else record.texts[index] for record in records.values()]
            columns[name] = pa.concat_arrays([columns[name], pa.array(texts, pa.string())]).take(take)
        raw = pa.concat_arrays([raw, pa.array(pieces, pa.binary())]).take(take)
        return RowBatch(self.first_line + np.concatenate([lines, quoted_lines])[order], raw, columns, {}, rejections)

    def _read_quoted(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], unquoted: NDArray[np.bool_]
    ) -> dict[int, _Record]:
        """Records with quotes, by their first line; `unquoted` keeps the lines that are rows by themselves."""
        codes = np.frombuffer(self.data, dtype=np.uint8)
        quotes = np.flatnonzero(codes == ord(_QUOTE))
        lines = np.unique(np.searchsorted(starts, quotes, side="right") - 1) if self.fast else np.flatnonzero(unquoted)
        records: dict[int, _Record] = {}
        for line in lines.tolist():
            if not unquoted[line]:
                continue
            start, end = int(starts[line]), int(ends[line])
            last = min(line + RECORD_CAP_LINES, len(starts)) - 1
            limit = max(end, min(int(ends[last]), start + RECORD_CAP_BYTES))
            record = _record(self.data, start, end, limit, self.dialect.delimiter.encode())
            if record is None:
                if not self.final and limit == ends[-1]:
                    self.rest, self.rest_line = self.data[start:], self.first_line + line
                    unquoted[line:] = False
                    break
                record = _Record(end, [], Rejection("malformed", "a quote opens and never closes"))
            if record.rejection is None and len(record.texts) != len(self.names):
                record.rejection = _wrong_field_count(len(record.texts), len(self.names))
            records[line] = record
            unquoted[line : int(np.searchsorted(starts, record.end))] = False
            unquoted[line] = False
        return records

    def _split(self, raw: pa.Array, wanted: tuple[str, ...]) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
        """Fields of lines without quotes."""
        rejections = _text_rejections(raw)
        _, codes, offsets = bytes_of(raw)
        delimiters = np.flatnonzero(codes == ord(self.dialect.delimiter))
        counts = np.diff(np.searchsorted(delimiters, offsets)) + 1
        for row in np.flatnonzero(counts != len(self.names)).tolist():
            rejections.setdefault(row, _wrong_field_count(int(counts[row]), len(self.names)))
        if rejections:
            valid = np.ones(len(raw), dtype=bool)
            valid[list(rejections)] = False
            columns = self._columns(raw.filter(pa.array(valid)), wanted)
            where = pa.array(np.where(valid, np.cumsum(valid) - 1, 0), mask=~valid)
            return {name: column.take(where) for name, column in columns.items()}, rejections
        return self._columns(raw, wanted), rejections

    def _columns(self, raw: pa.Array, wanted: tuple[str, ...]) -> dict[str, pa.Array]:
        if not len(raw):
            return {name: pa.array([], pa.string()) for name in wanted}
        data, codes, offsets = bytes_of(raw)
        delimiters = np.flatnonzero(codes[offsets[0] :] == ord(self.dialect.delimiter)) + offsets[0]
        inner = delimiters.reshape(len(raw), len(self.names) - 1)
        edges = np.column_stack([offsets[:-1] - 1, inner, offsets[1:]])
        columns = {}
        for name in wanted:
            index = self.names.index(name)
            texts = slices(data, edges[:, index] + 1, edges[:, index + 1], pa.string())
            empty = pc.equal(pc.binary_length(texts), 0)
            columns[name] = pc.if_else(empty, pa.scalar(None, pa.string()), texts) if pc.any(empty).as_py() else texts
        return columns


def _wrong_field_count(count: int, expected: int) -> Rejection:
    return Rejection("malformed", f"{count} fields, expected {expected}")


def _text_rejections(raw: pa.Array) -> dict[int, Rejection]:
    """Lines that are no UTF-8, hold a NUL, or begin with a byte order mark."""
    if not len(raw):
        return {}
    data, codes, offsets = bytes_of(raw)
    text = memoryview(data)[offsets[0] : offsets[-1]]
    doubtful = np.flatnonzero(codes[offsets[0] :] == 0)
    marked = np.flatnonzero(codes[offsets[:-1]] == BYTE_ORDER_MARK[0])
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        doubtful = np.flatnonzero((codes[offsets[0] :] == 0) | (codes[offsets[0] :] >= 128))
    lines = np.union1d(np.searchsorted(offsets, doubtful + offsets[0], side="right") - 1, marked)
    return {line: rejection for line in lines.tolist() if (rejection := _text_rejection(raw[line].as_py())) is not None}


def _text_rejection(record: bytes) -> Rejection | None:
    if record.startswith(BYTE_ORDER_MARK):
        return _BOM_INSIDE
    try:
        record.decode("utf-8")
    except UnicodeDecodeError as error:
        return Rejection("malformed", f"not UTF-8 at byte {error.start + 1}")
    return _NUL_INSIDE if b"\0" in record else None


def _record(data: bytes, start: int, line_end: int, limit: int, delimiter: bytes) -> _Record | None:
    """The record that begins at `start`, in a line that ends at `line_end`; None where a quote stays open to `limit`.

    A faulty record ends with its first line.
    """
    fields: list[bytes | None] = []
    at = start
    while True:
        if data[at : at + 1] == _QUOTE:
            closing = _closing_quote(data, at + 1, limit)
            if closing is None:
                return None
            fields.append(data[at + 1 : closing].replace(b'""', _QUOTE))
            at = closing + 1
            if closing >= line_end:
                line_end = _line_end(data, at)
        else:
            end = data.find(delimiter, at, line_end)
            text = data[at : line_end if end < 0 else end]
            if _QUOTE in text:
                return _Record(_line_end(data, start), [], Rejection("malformed", "a quote inside an unquoted field"))
            fields.append(text or None)
            at += len(text)
        if at >= line_end:
            break
        if data[at : at + 1] != delimiter:
            return _Record(_line_end(data, start), [], Rejection("malformed", "text after a closing quote"))
        at += 1
    rejection = _text_rejection(data[start:at])
    return _Record(at, [] if rejection else [None if text is None else text.decode() for text in fields], rejection)


def _line_end(data: bytes, at: int) -> int:
    newline = data.index(b"\n", at)
    return newline - 1 if newline > at and data[newline - 1 : newline] == b"\r" else newline


def _closing_quote(data: bytes, at: int, limit: int) -> int | None:
    while (quote := data.find(_QUOTE, at, limit)) >= 0:
        if data[quote + 1 : quote + 2] != _QUOTE or quote + 1 >= limit:
            return quote
        at = quote + 2
    return None
