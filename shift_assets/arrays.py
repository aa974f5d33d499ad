"""Types of NumPy arrays, with the dtype in the name, and what is done with ragged arrays and category codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
BytesArray = NDArray[np.bytes_]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]


def ragged_index(start: Int64Array, length: Int64Array) -> Int64Array:
    """Positions `start[i], …, start[i] + length[i] - 1` of every i, one after the other."""
    before = np.cumsum(length) - length
    return np.repeat(start - before, length) + np.arange(int(length.sum()), dtype=np.int64)


def offsets(length: Int64Array) -> Int64Array:
    """Offsets [n + 1] of ragged rows with these lengths [n]."""
    out = np.zeros(len(length) + 1, dtype=np.int64)
    np.cumsum(length, out=out[1:])
    return out


def sum_by(group: Int64Array, value: Float64Array, n_groups: int) -> Float64Array:
    """Sum of the values of every group, [n_groups]; always floats, also where there is nothing to sum."""
    return np.bincount(group, weights=value, minlength=n_groups).astype(np.float64)


class CategoryCodes:
    """Categories as integers, in alphabetical order, so that no result depends on the order of rows."""

    def __init__(self, *names: pa.Array | pa.ChunkedArray) -> None:
        chunks = [chunk for array in names for chunk in _chunks(array)]
        self.names = pc.unique(pa.chunked_array(chunks, type=pa.string()))
        self.names = self.names.take(pc.sort_indices(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, names: pa.Array | pa.ChunkedArray) -> Int64Array:
        """Codes of `names`; -1 for a name that is unknown here."""
        found = pc.fill_null(pc.index_in(names, value_set=self.names), -1)
        return np.asarray(found.to_numpy(), dtype=np.int64)

    def decode(self, codes: Int64Array) -> pa.Array:
        return self.names.take(pa.array(codes))


def on_grid(value: NDArray[np.floating[Any]], step: float) -> pa.Array:
    """`value` rounded to multiples of `step`, as single floats."""
    return pa.array((np.round(value / step) * step).astype(np.float32))


def _chunks(array: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return array.chunks if isinstance(array, pa.ChunkedArray) else [array]


def floats(column: pa.ChunkedArray) -> Float64Array:
    """Numbers of a column; nan where it is null."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def integers(column: pa.ChunkedArray, missing: int) -> Int64Array:
    """Numbers of a column; `missing` where it is null."""
    return np.asarray(pc.fill_null(column, missing).to_numpy(), dtype=np.int64)
