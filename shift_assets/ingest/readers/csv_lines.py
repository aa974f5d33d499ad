"""Read delimiter-separated text strictly: every record has every field, and a quote opens a field or is an error.

Lines without quotes are split by array operations over a whole block; records with quotes, which may span lines, are
read one by one. Of a record whose quote never closes only the line where it opens is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, Int64Array
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
"""A quote that is still open after this much text was not meant to open a field."""

_QUOTE = b'"'
_BOM_INSIDE = Rejection("malformed", "a byte order mark inside the file")
_NUL_INSIDE = Rejection("malformed", "a NUL character")


def read_csv_lines(
    chunks: Iterable[bytes], dialect: CsvDialect, requested: tuple[str, ...], *, fast: bool = True
) -> Iterator[RowBatch]:
    """Yield the records of a CSV file, with the values of the `requested` columns; empty unquoted fields are null.

    Args:
        chunks: The content of the file.
        dialect: Delimiter and header.
        requested: The columns to return.
        fast: Split lines without quotes by array operations; False reads every record one by one.

    Raises:
        UnreadableFileError: The header lacks a requested column or names one twice.
    """
    names = dialect.columns
    waiting, first_line = b"", 1
    for block in line_blocks(chunks):
        if isinstance(block, LongLine):
            if names is None:
                raise UnreadableFileError("the header line is longer than a line may be")
            if waiting:
                yield _Block(waiting, first_line, dialect, names, final=True, fast=fast).rows(requested)
                waiting = b""
            yield long_line_row(block, requested)
            continue
        data, first_line = waiting + block.data, first_line if waiting else block.first_line
        if names is None:
            names, data, lines = _header(data, dialect, requested)
            first_line += lines
        if names is not None and data:
            part = _Block(data, first_line, dialect, names, final=False, fast=fast)
            rows = part.rows(requested)
            if len(rows):
                yield rows
            waiting, first_line = part.rest, part.rest_line
    if waiting and names is not None:
        yield _Block(waiting, first_line, dialect, names, final=True, fast=fast).rows(requested)


def header_of(line: bytes, dialect: CsvDialect) -> tuple[str, ...]:
    """Return the column names in a header line.

    Raises:
        UnreadableFileError: They cannot be read or are not distinct. The message never repeats the line: in a file
            without header it is a row, which may name a user.
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


def _header(data: bytes, dialect: CsvDialect, requested: tuple[str, ...]) -> tuple[tuple[str, ...] | None, bytes, int]:
    """Return the column names (None if all is blank), the data after their line, and the number of lines skipped."""
    starts, ends = line_bounds(data)
    non_blank = np.flatnonzero(non_blank_lines(data, starts, ends))
    if not len(non_blank):
        return None, b"", len(starts)
    line = int(non_blank[0])
    names = header_of(data[starts[line] : ends[line]], dialect)
    missing = [name for name in requested if name not in names]
    if missing:
        raise UnreadableFileError(
            f"the header lacks {', '.join(map(repr, missing))}; are the {len(names)} fields of line {line + 1} names?"
        )
    return names, data[data.index(b"\n", ends[line]) + 1 :], line + 1


@dataclass(slots=True)
class _Record:
    """A record read on its own: where it ends in the data, and its fields or why it is rejected."""

    end: int
    texts: list[str | None]
    rejection: Rejection | None = None


@dataclass
class _Block:
    """Whole lines of a file; `rest` is the record with an open quote at their end, left for the next block."""

    data: bytes
    first_line: int
    dialect: CsvDialect
    names: tuple[str, ...]
    final: bool
    fast: bool
    rest: bytes = b""
    rest_line: int = 0

    def rows(self, requested: tuple[str, ...]) -> RowBatch:
        starts, ends = line_bounds(self.data)
        unquoted = non_blank_lines(self.data, starts, ends)
        records = self._read_quoted(starts, ends, unquoted)
        lines = np.flatnonzero(unquoted)
        raw = slices(pa.py_buffer(self.data), starts[lines], ends[lines], pa.binary())
        columns, rejections = self._split(raw, requested)
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
        for name in requested:
            index = self.names.index(name)
            texts = [None if record.rejection else record.texts[index] for record in records.values()]
            columns[name] = pa.concat_arrays([columns[name], pa.array(texts, pa.string())]).take(take)
        raw = pa.concat_arrays([raw, pa.array(pieces, pa.binary())]).take(take)
        return RowBatch(self.first_line + np.concatenate([lines, quoted_lines])[order], raw, columns, {}, rejections)

    def _read_quoted(self, starts: Int64Array, ends: Int64Array, unquoted: BoolArray) -> dict[int, _Record]:
        """Return records with quotes, by their first line, and unmark their lines in `unquoted`."""
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

    def _split(self, raw: pa.Array, requested: tuple[str, ...]) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
        """Split lines without quotes into the requested columns, and reject malformed ones by row."""
        rejections = _text_rejections(raw)
        _, codes, offsets = bytes_of(raw)
        delimiters = np.flatnonzero(codes == ord(self.dialect.delimiter))
        counts = np.diff(np.searchsorted(delimiters, offsets)) + 1
        for row in np.flatnonzero(counts != len(self.names)).tolist():
            rejections.setdefault(row, _wrong_field_count(int(counts[row]), len(self.names)))
        if rejections:
            valid = np.ones(len(raw), dtype=bool)
            valid[list(rejections)] = False
            columns = self._columns(raw.filter(pa.array(valid)), requested)
            where = pa.array(np.where(valid, np.cumsum(valid) - 1, 0), mask=~valid)
            return {name: column.take(where) for name, column in columns.items()}, rejections
        return self._columns(raw, requested), rejections

    def _columns(self, raw: pa.Array, requested: tuple[str, ...]) -> dict[str, pa.Array]:
        if not len(raw):
            return {name: pa.array([], pa.string()) for name in requested}
        data, codes, offsets = bytes_of(raw)
        delimiters = np.flatnonzero(codes[offsets[0] :] == ord(self.dialect.delimiter)) + offsets[0]
        inner = delimiters.reshape(len(raw), len(self.names) - 1)
        edges = np.column_stack([offsets[:-1] - 1, inner, offsets[1:]])
        columns = {}
        for name in requested:
            index = self.names.index(name)
            texts = slices(data, edges[:, index] + 1, edges[:, index + 1], pa.string())
            empty = pc.equal(pc.binary_length(texts), 0)
            columns[name] = pc.if_else(empty, pa.scalar(None, pa.string()), texts) if pc.any(empty).as_py() else texts
        return columns


def _wrong_field_count(count: int, expected: int) -> Rejection:
    return Rejection("malformed", f"{count} fields, expected {expected}")


def _text_rejections(raw: pa.Array) -> dict[int, Rejection]:
    """Reject lines that are not UTF-8, contain a NUL, or begin with a byte order mark."""
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
    """Read the record at `start`, in a line that ends at `line_end`; None if a quote is still open at `limit`.

    A rejected record ends with its first line.
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
