"""Split text files into blocks of whole lines, in bounded memory.

A line ends at `\\n`; one `\\r` before it belongs to the line end. A line longer than the cap is never held in
memory: only its head is, the rest is only digested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.ingest.readers.byte_arrays import slices
from shift_assets.ingest.readers.row_batch import RAW_CAP_BYTES, Rejection, RowBatch

LINE_CAP_BYTES = 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEWLINE, _RETURN = 10, 13
_SPACES = b" \t\r\n\v\f"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines: `data`, ending in `\\n`, and the number, from 1, of its first line."""

    data: bytes
    first_line: int


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line above the cap: its first 64 KiB, the SHA-256 and length of the whole, and where it begins in the file."""

    head: bytes
    sha256: str
    length: int
    line: int
    offset: int


def line_blocks(chunks: Iterable[bytes]) -> Iterator[Block | LongLine]:
    """Yield the lines of a file, without its byte order mark; the last line need not end in a newline."""
    line, offset = 1, 0
    rest = b""
    long: _PartialLongLine | None = None
    for chunk in chunks:
        data, rest = rest + chunk, b""
        if offset == 0 and line == 1 and long is None:
            if len(data) < len(BYTE_ORDER_MARK):
                rest = data
                continue
            if data.startswith(BYTE_ORDER_MARK):
                data, offset = data[len(BYTE_ORDER_MARK) :], len(BYTE_ORDER_MARK)
        if long is not None:
            end = data.find(b"\n")
            long.add(data if end < 0 else data[:end])
            if end < 0:
                continue
            yield long.line(line, offset)
            offset += long.taken + 1
            line, long, data = line + 1, None, data[end + 1 :]
        complete = data.rfind(b"\n") + 1
        block, rest = data[:complete], data[complete:]
        yield from _split_long_lines(block, line, offset)
        line += block.count(b"\n")
        offset += len(block)
        if len(rest) > LINE_CAP_BYTES + 1:
            long, rest = _PartialLongLine(rest), b""
    if long is not None:
        yield long.line(line, offset)
    elif rest:
        yield from _split_long_lines(rest + b"\n", line, offset)


class _PartialLongLine:
    """A line above the cap that is still being read."""

    def __init__(self, head: bytes) -> None:
        self.taken = 0
        self._digest = hashlib.sha256()
        self._head = b""
        self._held = b""
        self.add(head)

    def add(self, piece: bytes) -> None:
        """Take more of the line; its last byte is held back because it may be the `\\r` of the line end."""
        self.taken += len(piece)
        piece = self._held + piece
        self._held = piece[-1:]
        self._consume(piece[:-1])

    def _consume(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._head += piece[: RAW_CAP_BYTES - len(self._head)]

    def line(self, number: int, offset: int) -> LongLine:
        """Return the whole line; call once, at its end."""
        last = self._held.removesuffix(b"\r")
        self._consume(last)
        length = self.taken - len(self._held) + len(last)
        return LongLine(self._head, self._digest.hexdigest(), length, number, offset)


def _split_long_lines(block: bytes, first_line: int, offset: int) -> Iterator[Block | LongLine]:
    """Split a block into runs of lines within the cap and the long lines between them."""
    start, line = 0, first_line
    if len(block) > LINE_CAP_BYTES:
        starts, ends = line_bounds(block)
        for index in np.flatnonzero(ends - starts > LINE_CAP_BYTES).tolist():
            if starts[index] > start:
                yield Block(block[start : starts[index]], line)
            text = block[starts[index] : ends[index]]
            digest = hashlib.sha256(text).hexdigest()
            line = first_line + index
            yield LongLine(text[:RAW_CAP_BYTES], digest, len(text), line, offset + int(starts[index]))
            start = starts[index + 1] if index + 1 < len(starts) else len(block)
            line += 1
    if start < len(block):
        yield Block(block[start:], line)


def line_bounds(block: bytes) -> tuple[Int64[Int64Array, " line"], Int64[Int64Array, " line"]]:
    """Return where each line of a block starts and ends, without its line end."""
    codes = np.frombuffer(block, dtype=np.uint8)
    newlines = np.flatnonzero(codes == _NEWLINE)
    starts = np.concatenate([[0], newlines[:-1] + 1])
    ends = newlines - ((newlines > starts) & (codes[newlines - 1] == _RETURN))
    return starts, ends


def non_blank_lines(
    block: bytes, starts: Int64[Int64Array, " line"], ends: Int64[Int64Array, " line"]
) -> Bool[BoolArray, " line"]:
    """Return which lines contain anything but white space."""
    codes = np.frombuffer(block, dtype=np.uint8)
    non_blank = ends > starts
    doubtful = np.flatnonzero(non_blank & (codes[starts] <= ord(" ")))
    for index in doubtful.tolist():
        non_blank[index] = bool(block[starts[index] : ends[index]].strip(_SPACES))
    return non_blank


def row_lines(block: Block) -> tuple[Int64[Int64Array, " row"], pa.Array]:
    """Return the numbers and bytes of the non-blank lines of a block, which are its rows."""
    starts, ends = line_bounds(block.data)
    lines = np.flatnonzero(non_blank_lines(block.data, starts, ends))
    return block.first_line + lines, slices(pa.py_buffer(block.data), starts[lines], ends[lines], pa.binary())


def long_line_row(line: LongLine, requested: tuple[str, ...]) -> RowBatch:
    """Return the single rejected row of a line above the cap."""
    return RowBatch(
        np.array([line.line], dtype=np.int64),
        pa.array([line.head], pa.binary()),
        {name: pa.nulls(1, pa.string()) for name in requested},
        rejections={0: Rejection("too_long", f"{line.length} bytes; a line has at most {LINE_CAP_BYTES}")},
        digests={0: line.sha256},
        spans={0: (line.offset, line.length)},
    )
