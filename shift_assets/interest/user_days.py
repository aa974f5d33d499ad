"""Recent active days and category weights of many users as flat arrays, read from and written to the interest state.

A ragged list of lists is held as values plus offsets, so that all users are computed at once. Everything in `shift`
and `outcomes` reads the state through this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from shift_assets.arrays import (
    BoolArray,
    CategoryCodes,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    list_lengths,
    list_values,
    offsets,
    on_grid,
    ragged_index,
    sum_by,
)
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.shift import INTEREST_STATE

_RECENT_DAYS_TYPE = INTEREST_STATE.column("recent_days").type
_SCORES_TYPE = _RECENT_DAYS_TYPE.value_type.field("scores").type
_WEIGHTS_TYPE = INTEREST_STATE.column("profile").type

SHARE_STEP, WEIGHT_STEP = 2.0**-8, 2.0**-12
"""Grid on which shares and weights are stored: a third of the bytes on disk, and finer than a day's noise. A weight
decays by 1.5 % a day, so rounding would keep one of fewer than about 30 steps for ever: the state drops it before."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Category weights of many users: those of user u are at `start[u]:start[u + 1]`."""

    start: Int64Array  # [user + 1]
    category: Int64Array  # [weight]
    weight: Float64Array  # [weight]

    @property
    def user(self) -> Int64Array:
        """User of every weight, [weight]."""
        return np.repeat(np.arange(len(self.start) - 1, dtype=np.int64), np.diff(self.start))


@dataclass(frozen=True, slots=True)
class UserDays:
    """Recent active days of many users, oldest first: entries of user u are at `start[u]:start[u + 1]`."""

    start: Int64Array  # [user + 1]
    day: Int64Array  # [entry], days since 1970-01-01
    score_start: Int64Array  # [entry + 1]
    category: Int64Array  # [score]
    score: Float64Array  # [score]
    counts: Int32Array  # [entry, behavior], in the contract's order of behaviours
    own_share: Float32Array = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    """[score], share of the day without the platform's part, 0 for days older than the possible starts; empty for
    days that do not come from the state."""

    @classmethod
    def from_cells(
        cls,
        user: Int64Array,
        day: Int64Array,
        counts: Int64Array | Int32Array,
        *,
        cell_row: Int64Array,
        category: Int64Array,
        score: Float64Array,
        n_users: int,
        n_categories: int,
    ) -> UserDays:
        """Group rows by user and day, and their cells by category; what falls together is added in the given order.

        Args:
            user: user of every row, below `n_users`.
            day: day of every row, days since 1970-01-01.
            counts: events of every row, [row, behavior].
            cell_row: row of every cell.
            category: category of every cell, below `n_categories`.
            score: score of every cell.
            n_users: number of users; those without a row have no entry.
            n_categories: number of categories.
        """
        first, span = (int(day.min()), int(day.max() - day.min()) + 1) if len(day) else (0, 1)
        entry_key, entry = np.unique(user * span + day - first, return_inverse=True)
        width = max(n_categories, 1)
        cell_key, cell = np.unique(entry[cell_row] * width + category, return_inverse=True)
        summed = [np.bincount(entry, counts[:, column], len(entry_key)) for column in range(counts.shape[1])]
        return cls(
            start=offsets(np.bincount(entry_key // span, minlength=n_users)),
            day=entry_key % span + first,
            score_start=offsets(np.bincount(cell_key // width, minlength=len(entry_key))),
            category=cell_key % width,
            score=sum_by(cell, score, len(cell_key)),
            counts=np.stack(summed, axis=1).astype(np.int32),
        )

    @property
    def n_users(self) -> int:
        return len(self.start) - 1

    @property
    def n_days(self) -> Int64Array:
        """Number of active days held, [user]."""
        return np.diff(self.start)

    @property
    def user(self) -> Int64Array:
        """User of every entry, [entry]."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), self.n_days)

    @property
    def score_entry(self) -> Int64Array:
        """Entry of every score, [score]."""
        return np.repeat(np.arange(len(self.day), dtype=np.int64), np.diff(self.score_start))

    @property
    def age(self) -> Int64Array:
        """Active days of the same user after this one, [entry]; 0 for the newest."""
        return np.repeat(self.start[1:], self.n_days) - 1 - np.arange(len(self.day), dtype=np.int64)

    @property
    def is_scored(self) -> BoolArray:
        """Whether a day has any score, [entry]."""
        return sum_by(self.score_entry, self.score, len(self.day)) > 0

    @property
    def share(self) -> Float64Array:
        """Share of its day's score, [score]; 0 on a day without any."""
        entry = self.score_entry
        total = sum_by(entry, self.score, len(self.day))[entry]
        return np.asarray(np.divide(self.score, total, out=np.zeros_like(self.score), where=total > 0))

    def dense_share(self, n_categories: int) -> Float64Array:
        """Share of its day's score, [entry, category]; 0 on a day without any."""
        dense = np.zeros((len(self.day), n_categories))
        dense[self.score_entry, self.category] = self.share
        return dense

    def take_users(self, users: Int64Array) -> UserDays:
        """Only these users, in this order."""
        return self.take_entries(ragged_index(self.start[users], self.n_days[users]), offsets(self.n_days[users]))

    def take_entries(self, entries: Int64Array, start: Int64Array) -> UserDays:
        """Only these entries, in this order, belonging to users as `start` says."""
        lengths = np.diff(self.score_start)[entries]
        scores = ragged_index(self.score_start[entries], lengths)
        return UserDays(
            start,
            self.day[entries],
            offsets(lengths),
            self.category[scores],
            self.score[scores],
            self.counts[entries],
            self.own_share[scores] if len(self.own_share) else self.own_share,
        )


def append_day(user_days: UserDays, newest: UserDays, capacity: int) -> UserDays:
    """Append every user's one entry of `newest`, and drop the oldest entries beyond `capacity`."""
    n_held = np.minimum(user_days.n_days, capacity - 1)
    length = n_held + 1
    start = offsets(length)
    n_old = len(user_days.day)
    entries = np.empty(int(length.sum()), dtype=np.int64)
    is_new = np.zeros(len(entries), dtype=bool)
    is_new[start[1:] - 1] = True
    entries[~is_new] = ragged_index(user_days.start[1:] - n_held, n_held)
    entries[is_new] = n_old + np.arange(newest.n_users)
    both = UserDays(
        start=np.zeros(1, dtype=np.int64),
        day=np.concatenate([user_days.day, newest.day]),
        score_start=np.concatenate([user_days.score_start[:-1], newest.score_start + user_days.score_start[-1]]),
        category=np.concatenate([user_days.category, newest.category]),
        score=np.concatenate([user_days.score, newest.score]),
        counts=np.concatenate([user_days.counts, newest.counts]),
        own_share=np.concatenate([user_days.own_share, newest.own_share]),
    )
    return both.take_entries(entries, start)


def user_day_categories(column: pa.ChunkedArray) -> pa.Array:
    """All categories named in a `recent_days` column, with repetition."""
    return list_values(column).field("scores").flatten().field("category")


def weight_categories(column: pa.ChunkedArray) -> pa.Array:
    """All categories named in a `profile` or `former_profile` column, with repetition."""
    return list_values(column).field("category")


def read_user_days(column: pa.ChunkedArray, codes: CategoryCodes) -> UserDays:
    """Read a `recent_days` column."""
    entries = list_values(column)
    scores = entries.field("scores")
    pairs = scores.flatten()
    return UserDays(
        start=offsets(list_lengths(column)),
        day=entries.field("day").cast(pa.int32()).to_numpy().astype(np.int64),
        score_start=offsets(list_lengths(scores)),
        category=codes.encode(pairs.field("category")),
        score=pairs.field("score").to_numpy().astype(np.float64),
        counts=entries.field("counts").flatten().to_numpy().reshape(-1, len(BEHAVIORS)),
        own_share=pairs.field("own_share").to_numpy(),
    )


def write_user_days(user_days: UserDays, codes: CategoryCodes) -> pa.Array:
    """Return the `recent_days` column of these days."""
    fields = _RECENT_DAYS_TYPE.value_type
    width = len(BEHAVIORS)
    counts = pa.ListArray.from_arrays(
        pa.array(np.arange(len(user_days.day) + 1, dtype=np.int32) * width),
        pa.array(np.ascontiguousarray(user_days.counts, dtype=np.int32).ravel()),
    )
    scores = pa.StructArray.from_arrays(
        [
            codes.decode(user_days.category),
            pa.array(user_days.score.astype(np.float32)),
            on_grid(user_days.own_share, SHARE_STEP),
        ],
        fields=list(_SCORES_TYPE.value_type),
    )
    entries = pa.StructArray.from_arrays(
        [
            pa.array(user_days.day.astype(np.int32)).cast(pa.date32()),
            pa.ListArray.from_arrays(pa.array(user_days.score_start.astype(np.int32)), scores, type=_SCORES_TYPE),
            counts,
        ],
        fields=list(fields),
    )
    return pa.ListArray.from_arrays(pa.array(user_days.start.astype(np.int32)), entries, type=_RECENT_DAYS_TYPE)


def read_weights(column: pa.ChunkedArray, codes: CategoryCodes) -> Weights:
    """Read a `profile` or `former_profile` column."""
    pairs = list_values(column)
    weight = pairs.field("weight").to_numpy().astype(np.float64)
    return Weights(offsets(list_lengths(column)), codes.encode(pairs.field("category")), weight)


def write_weights(weights: Weights, codes: CategoryCodes) -> pa.Array:
    """Return the `profile` column of these weights."""
    pairs = pa.StructArray.from_arrays(
        [codes.decode(weights.category), on_grid(weights.weight, WEIGHT_STEP)],
        fields=list(_WEIGHTS_TYPE.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(weights.start.astype(np.int32)), pairs, type=_WEIGHTS_TYPE)
