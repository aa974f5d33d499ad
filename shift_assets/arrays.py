"""NumPy array types with the dtype in the name, and helpers for ragged arrays, groups and category codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
BytesArray = NDArray[np.bytes_]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
FloatArray = NDArray[np.floating[Any]]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]
UInt64Array = NDArray[np.uint64]


def ragged_index(start: Int64[Int64Array, " run"], length: Int64[Int64Array, " run"]) -> Int64[Int64Array, " position"]:
    """Positions `start[i], …, start[i] + length[i] - 1` of every i, one after the other.

    >>> ragged_index(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    before = np.cumsum(length) - length
    return np.repeat(start - before, length) + np.arange(int(length.sum()), dtype=np.int64)


def offsets(length: Int64Array) -> Int64Array:
    """Offsets [n + 1] of ragged rows with these lengths [n].

    >>> offsets(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    out = np.zeros(len(length) + 1, dtype=np.int64)
    np.cumsum(length, out=out[1:])
    return out


def sum_by(
    group: Int64[Int64Array, " row"], value: Float64[Float64Array, " row"], n_groups: int
) -> Float64[Float64Array, " group"]:
    """Sum of the values of every group, added in the order of rows; floats also where there is nothing to sum.

    >>> sum_by(np.array([0, 2, 0]), np.array([1.0, 2.0, 3.0]), 3).tolist()
    [4.0, 0.0, 2.0]
    """
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
        """Names of `codes`."""
        return self.names.take(pa.array(codes))


def on_grid(value: NDArray[np.floating[Any]], step: float) -> pa.Array:
    """Return `value` rounded to multiples of `step`, as single floats."""
    return pa.array((np.round(value / step) * step).astype(np.float32))


def _chunks(array: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return array.chunks if isinstance(array, pa.ChunkedArray) else [array]


def floats(column: pa.ChunkedArray) -> Float64Array:
    """Numbers of a column; nan where it is null."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def integers(column: pa.ChunkedArray, missing: int) -> Int64Array:
    """Numbers of a column; `missing` where it is null."""
    return np.asarray(pc.fill_null(column, missing).to_numpy(), dtype=np.int64)


def list_lengths(column: pa.Array | pa.ChunkedArray) -> Int64Array:
    """Lengths of a column's lists; 0 where it is null."""
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64)


def list_values(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Elements of a column's lists, one list after the other."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.flatten()


def user_day_names(table: pa.Table) -> pa.Array:
    """Return day, segment and user of every row as one string."""
    day = pc.cast(table["day"], pa.string())
    names = pc.binary_join_element_wise(day, table["segment"], table["user_id"], "|")
    return names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
