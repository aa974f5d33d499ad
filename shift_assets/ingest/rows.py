"""Delivered rows on their way from a reader (JSON lines, CSV, Parquet) to the row logic, before any typing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Kind(IntEnum):
    """What a delivered value was before it became text."""

    NULL = 0
    TEXT = 1
    NUMBER = 2
    BOOLEAN = 3
    CONTAINER = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is rejected before its values are looked at."""

    reason: str
    detail: str


@dataclass(slots=True)
class Rows:
    """Some rows of one file, in order.

    `numbers[row]`: line (or Parquet row) from 1 where the row begins. `raw`: its delivered bytes.
    `columns`: each wanted delivered column, as text, or as typed in Parquet; of no meaning in faulty rows.
    `kinds[column][row]`: a Kind per value, where the format knows more than text. `faults`: by index in here.
    `digests`: SHA-256 of rows whose `raw` is already cut, by index; `spans`: their offset and length in the file.
    """

    numbers: NDArray[np.int64]
    raw: pa.Array
    columns: dict[str, pa.Array]
    kinds: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)


def slices(data: pa.Buffer, starts: NDArray[np.int64], ends: NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    """Pieces `data[starts[i]:ends[i]]` as an array of `kind` (binary or string, not checked to be UTF-8).

    The pieces lie in order and do not overlap, so that the interleaved bounds are the offsets of one array whose
    every second element is a piece: no loop, one copy.
    """
    count = len(starts)
    if count == 0:
        return pa.array([], kind)
    bounds = np.empty(2 * count, dtype=np.int32)
    bounds[0::2] = starts
    bounds[1::2] = ends
    spans = pa.Array.from_buffers(kind, 2 * count - 1, [None, pa.py_buffer(bounds), data])
    return spans.take(pa.array(np.arange(0, 2 * count - 1, 2, dtype=np.int32)))


def bytes_of(lines: pa.Array) -> tuple[pa.Buffer, NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of a binary or string array, as buffer and as codes, and its offsets into them."""
    _, offsets, data = lines.buffers()
    offsets = np.frombuffer(offsets, dtype=np.int32)[lines.offset : lines.offset + len(lines) + 1].astype(np.int64)
    return data, np.frombuffer(data, dtype=np.uint8)[: offsets[-1]], offsets
