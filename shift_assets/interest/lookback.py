"""Look-back windows of many days at once: which rows belong to which day's window, and statistics by group."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.day import day_number


def day_numbers(days: Sequence[date]) -> Int64Array:
    """Days since 1970-01-01 of the distinct `days`, ascending."""
    return np.array(sorted({day_number(day) for day in days}), dtype=np.int64)


def column_days(column: pa.ChunkedArray) -> Int64Array:
    """Days since 1970-01-01 of a date column."""
    return np.asarray(column.cast(pa.int32()).to_numpy(), dtype=np.int64)


def expand(
    row_day: Int64[Int64Array, " row"], days: Int64[Int64Array, " day"], look_back_days: int
) -> tuple[Int64[Int64Array, " pair"], Int64[Int64Array, " pair"]]:
    """Pair every row with every day whose window holds it.

    Args:
        row_day: day of each row, days since 1970-01-01.
        days: last days of the windows, ascending.
        look_back_days: length of a window: its last day and the `look_back_days - 1` days before.

    Returns:
        Row and position in `days` of every pair, in the order of the rows, so that sums over pairs add in the same
        order for one day as for many.

    >>> row, day = expand(np.array([1, 2]), np.array([2, 3]), look_back_days=2)
    >>> row.tolist(), day.tolist()
    ([0, 1, 1], [0, 0, 1])
    """
    first = np.searchsorted(days, row_day)
    last = np.searchsorted(days, row_day + look_back_days - 1, side="right")
    length = last - first
    row = np.repeat(np.arange(len(row_day), dtype=np.int64), length)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(length) - length - first, length)


def groups(*keys: Int64Array) -> tuple[list[Int64Array], Int64Array]:
    """Return the distinct combinations of the keys, in ascending order, and the combination of every row.

    >>> distinct, group = groups(np.array([1, 0, 1]), np.array([5, 5, 5]))
    >>> [key.tolist() for key in distinct], group.tolist()
    ([[0, 1], [5, 5]], [1, 0, 1])
    """
    if len(keys[0]) == 0:
        return [np.zeros(0, dtype=np.int64) for _ in keys], np.zeros(0, dtype=np.int64)
    sizes = [int(key.max()) + 1 for key in keys]
    combined = np.ravel_multi_index(keys, sizes)
    distinct, group = np.unique(combined, return_inverse=True)
    return [np.asarray(key, dtype=np.int64) for key in np.unravel_index(distinct, sizes)], group


def median(
    group: Int64[Int64Array, " row"], value: Float64[Float64Array, " row"], n_groups: int
) -> Float64[Float64Array, " group"]:
    """Median of the values of every group; nan where a group has none. Values may not be nan."""
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


def mid_rank(
    group: Int64[Int64Array, " row"], value: Float64[Float64Array, " row"], n_groups: int
) -> Float64[Float64Array, " row"]:
    """Rank of every value within its group as a share 0..1; ties share their middle rank, a single value has 0.5."""
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
