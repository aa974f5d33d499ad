"""Arrow string and binary arrays by their bytes: slices of a buffer, and the buffer of an array."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


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
