"""Look-back windows over many days at once: which rows belong to which day's window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.day import day_number


def day_numbers(days: Sequence[date]) -> Int64Array:
    """The days since 1970-01-01, ascending, each once."""
    return np.array(sorted({day_number(day) for day in days}), dtype=np.int64)


def column_days(column: pa.ChunkedArray) -> Int64Array:
    """A date column as days since 1970-01-01."""
    return np.asarray(column.cast(pa.int32()).to_numpy(), dtype=np.int64)


def encode(column: pa.ChunkedArray) -> tuple[Int64Array, pa.Array]:
    """A text column as codes in alphabetical order of its values, and the values."""
    names = pc.unique(column)
    names = names.take(pc.sort_indices(names))
    return pc.index_in(column, value_set=names).to_numpy().astype(np.int64), names


def expand(row_day: Int64Array, days: Int64Array, look_back_days: int) -> tuple[Int64Array, Int64Array]:
    """Pairs (row, position in `days`) of every row and every day whose window holds it.

    The window of a day is that day and the `look_back_days - 1` days before it. `days` is ascending. Pairs come in
    the order of the rows, so that sums over them add in the same order for one day as for many.
    """
    first = np.searchsorted(days, row_day)
    last = np.searchsorted(days, row_day + look_back_days - 1, side="right")
    length = last - first
    row = np.repeat(np.arange(len(row_day), dtype=np.int64), length)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(length) - length - first, length)


def groups(*keys: Int64Array) -> tuple[list[Int64Array], Int64Array]:
    """The distinct combinations of the keys, in ascending order, and the combination of every row."""
    if len(keys[0]) == 0:
        return [np.zeros(0, dtype=np.int64) for _ in keys], np.zeros(0, dtype=np.int64)
    sizes = [int(key.max()) + 1 for key in keys]
    combined = np.ravel_multi_index(keys, sizes)
    distinct, group = np.unique(combined, return_inverse=True)
    return [np.asarray(key, dtype=np.int64) for key in np.unravel_index(distinct, sizes)], group


def total(group: Int64Array, value: Float64Array, n_groups: int) -> Float64Array:
    """Sum of the values of every group, [n_groups]."""
    return np.bincount(group, weights=value, minlength=n_groups).astype(np.float64)


def median(group: Int64Array, value: Float64Array, n_groups: int) -> Float64Array:
    """Median of the values of every group, [n_groups]; nan where a group has none. Values may not be nan."""
    order = np.lexsort((value, group))
    ranked = value[order]
    count = np.bincount(group, minlength=n_groups)
    start = np.cumsum(count) - count
    out = np.full(n_groups, np.nan)
    non_empty = count > 0
    low = start[non_empty] + (count[non_empty] - 1) // 2
    high = start[non_empty] + count[non_empty] // 2
    out[non_empty] = (ranked[low] + ranked[high]) / 2
    return out


def mid_rank(group: Int64Array, value: Float64Array, n_groups: int) -> Float64Array:
    """Rank of every value within its group as a share 0..1, ties at their middle; a value alone is at 0.5."""
    order = np.lexsort((value, group))
    sorted_group, sorted_value = group[order], value[order]
    is_new = np.ones(len(value), dtype=bool)
    is_new[1:] = (sorted_group[1:] != sorted_group[:-1]) | (sorted_value[1:] != sorted_value[:-1])
    tie = np.cumsum(is_new) - 1
    ties = np.bincount(tie) if len(value) else np.zeros(0, dtype=np.int64)
    middle = np.cumsum(ties) - ties / 2
    count = np.bincount(group, minlength=n_groups)
    start = np.cumsum(count) - count
    out = np.empty(len(value))
    out[order] = (middle[tie] - start[sorted_group]) / count[sorted_group]
    return out
