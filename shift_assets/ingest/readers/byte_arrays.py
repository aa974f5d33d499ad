"""Arrow string and binary arrays at byte level: slices of a buffer, and the buffer of an array."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt8

from shift_assets.arrays import Int64Array, UInt8Array


def slices(
    data: pa.Buffer, starts: Int64[Int64Array, " slice"], ends: Int64[Int64Array, " slice"], kind: pa.DataType
) -> pa.Array:
    """Return the slices `data[starts[i]:ends[i]]` as an array of `kind` (binary or string).

    The slices must be in order and must not overlap: their interleaved bounds are then the offsets of one array, of
    which every second element is a slice. No loop, one copy; strings are not checked to be UTF-8.
    """
    count = len(starts)
    if count == 0:
        return pa.array([], kind)
    bounds = np.empty(2 * count, dtype=np.int32)
    bounds[0::2] = starts
    bounds[1::2] = ends
    spans = pa.Array.from_buffers(kind, 2 * count - 1, [None, pa.py_buffer(bounds), data])
    return spans.take(pa.array(np.arange(0, 2 * count - 1, 2, dtype=np.int32)))


def bytes_of(lines: pa.Array) -> tuple[pa.Buffer, UInt8[UInt8Array, " byte"], Int64[Int64Array, " line_bounds"]]:
    """Return the bytes of a binary or string array as a buffer and as codes, and the offsets of its elements."""
    _, offsets, data = lines.buffers()
    offsets = np.frombuffer(offsets, dtype=np.int32)[lines.offset : lines.offset + len(lines) + 1].astype(np.int64)
    return data, np.frombuffer(data, dtype=np.uint8)[: offsets[-1]], offsets
