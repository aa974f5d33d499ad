"""Sums over windows of each user's active days, one window per entry, for the window detectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.interest.user_days import UserDays
from shift_assets.interest.windows import window_lengths
from shift_assets.settings.root import StateSettings

RECENT, REFERENCE = 7, 28
"""Active days of the recent and the reference window."""
MINIMUM = 12
"""Active days up to the scored one below which a detector is silent."""
_CELLS_AT_ONCE = 4_000_000
"""Cells of a dense block, 32 MB: memory does not grow with the log."""


class WindowSettings(Protocol):
    """Settings that detectors of two windows have in common."""

    recent_active_days: int
    reference_active_days: int
    minimum_active_days: int


class Windows(NamedTuple):
    """The two windows of some entries; entry e is the newest day of its recent window."""

    entries: Int64Array  # [row], ascending
    reference: Float64Array  # [row, category], sum of the mass
    recent: Float64Array  # [row, category]


def event_counts(user_days: UserDays) -> Float64Array:
    """Events of a day and category, [score]: the day's events split by its score shares."""
    return np.asarray(user_days.share * user_days.counts.sum(axis=1)[user_days.score_entry])


def windows(user_days: UserDays, mass: Float64Array, n_categories: int, settings: WindowSettings) -> Iterator[Windows]:
    """Yield `mass` [score] summed over both windows of every entry with `minimum_active_days` up to it, in blocks.

    The windows are those of `window_lengths` at the end of the entry's day.
    """
    active_days = 1 + np.arange(len(user_days.day)) - np.repeat(user_days.start[:-1], user_days.n_days)
    entries = np.flatnonzero(active_days >= settings.minimum_active_days)
    lengths = StateSettings(
        recent_active_days=settings.recent_active_days, reference_active_days=settings.reference_active_days
    )
    n_recent, n_reference = window_lengths(active_days[entries], lengths)
    end = entries + 1
    middle = end - n_recent
    size = max(1, _CELLS_AT_ONCE // max(n_categories, 1))
    for first in range(0, len(entries), size):
        block = slice(first, first + size)
        yield Windows(
            entries[block],
            window_sums(user_days, mass, (middle - n_reference)[block], middle[block], n_categories),
            window_sums(user_days, mass, middle[block], end[block], n_categories),
        )


def window_sums(
    user_days: UserDays, mass: Float64Array, begin: Int64Array, end: Int64Array, n_categories: int
) -> Float64Array:
    """Sum `mass` [score] over the entries `begin[row] <= e < end[row]`, [row, category]."""
    out = np.zeros((len(begin), n_categories))
    _add_windows(user_days.score_start, user_days.category, mass, begin, end, out)
    return out


@njit(cache=True)
def _add_windows(score_start, category, mass, begin, end, out):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    for row in range(len(begin)):
        for cell in range(score_start[begin[row]], score_start[end[row]]):
            out[row, category[cell]] += mass[cell]
