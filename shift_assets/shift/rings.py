"""The ring of recent days, flat: nested Arrow columns of the interest state as NumPy arrays, and back.

A ragged list of lists is held as values plus offsets, so that all users are computed at once. Everything in
`shift` and the judges of alarms read the state through this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.contracts import BEHAVIORS, INTEREST_STATE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_RING_TYPE = INTEREST_STATE.column("recent_days").type
_SCORES_TYPE = _RING_TYPE.value_type.field("scores").type
_WEIGHTS_TYPE = INTEREST_STATE.column("profile").type

SHARE_STEP, WEIGHT_STEP = 2.0**-8, 2.0**-12
"""Grid on which shares and weights are stored: a third of the bytes on disk, and finer than a day's noise. A weight
decays by 1.5 % a day, so one below some 30 steps would stay for ever: the state forgets it before."""


def ragged_index(start: Ints, length: Ints) -> Ints:
    """Positions `start[i], …, start[i] + length[i] - 1` of every i, one after the other."""
    before = np.cumsum(length) - length
    return np.repeat(start - before, length) + np.arange(int(length.sum()), dtype=np.int64)


def offsets(length: Ints) -> Ints:
    """Offsets [n + 1] of ragged rows with these lengths [n]."""
    out = np.zeros(len(length) + 1, dtype=np.int64)
    np.cumsum(length, out=out[1:])
    return out


def sum_by(group: Ints, value: Floats, n_groups: int) -> Floats:
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

    def encode(self, names: pa.Array | pa.ChunkedArray) -> Ints:
        """Codes of `names`; -1 for a name that is unknown here."""
        found = pc.fill_null(pc.index_in(names, value_set=self.names), -1)
        return np.asarray(found.to_numpy(), dtype=np.int64)

    def decode(self, codes: Ints) -> pa.Array:
        return self.names.take(pa.array(codes))


@dataclass(frozen=True, slots=True)
class Weights:
    """Category weights of many users: those of user u are at `start[u]:start[u + 1]`."""

    start: Ints  # [user + 1]
    category: Ints  # [weight]
    weight: Floats  # [weight]

    @property
    def user(self) -> Ints:
        """User of every weight, [weight]."""
        return np.repeat(np.arange(len(self.start) - 1, dtype=np.int64), np.diff(self.start))


@dataclass(frozen=True, slots=True)
class Rings:
    """Recent active days of many users, oldest first: entries of user u are at `start[u]:start[u + 1]`."""

    start: Ints  # [user + 1]
    day: Ints  # [entry], days since 1970-01-01
    score_start: Ints  # [entry + 1]
    category: Ints  # [score]
    score: Floats  # [score]
    counts: NDArray[np.int32]  # [entry, behavior], in the contract's order of behaviours
    own_share: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    """[score], share of the day without the platform's part, 0 where no longer kept; [0] but in the state."""

    @property
    def n_users(self) -> int:
        return len(self.start) - 1

    @property
    def n_days(self) -> Ints:
        """Active days in the ring, [user]."""
        return np.diff(self.start)

    @property
    def user(self) -> Ints:
        """User of every entry, [entry]."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), self.n_days)

    @property
    def score_entry(self) -> Ints:
        """Entry of every score, [score]."""
        return np.repeat(np.arange(len(self.day), dtype=np.int64), np.diff(self.score_start))

    @property
    def age(self) -> Ints:
        """Active days of the same user after this one, [entry]; 0 for the newest."""
        return np.repeat(self.start[1:], self.n_days) - 1 - np.arange(len(self.day), dtype=np.int64)

    @property
    def is_scored(self) -> Flags:
        """Whether a day has any score, [entry]."""
        return sum_by(self.score_entry, self.score, len(self.day)) > 0

    @property
    def share(self) -> Floats:
        """Share of its day's score, [score]; 0 on a day without any."""
        entry = self.score_entry
        total = sum_by(entry, self.score, len(self.day))[entry]
        return np.asarray(np.divide(self.score, total, out=np.zeros_like(self.score), where=total > 0))

    def dense_share(self, n_categories: int) -> Floats:
        """The same, [entry, category]."""
        dense = np.zeros((len(self.day), n_categories))
        dense[self.score_entry, self.category] = self.share
        return dense

    def take_users(self, users: Ints) -> Rings:
        """Only these users, in this order."""
        return self.take_entries(ragged_index(self.start[users], self.n_days[users]), offsets(self.n_days[users]))

    def take_entries(self, entries: Ints, start: Ints) -> Rings:
        """Only these entries, in this order, belonging to users as `start` says."""
        lengths = np.diff(self.score_start)[entries]
        scores = ragged_index(self.score_start[entries], lengths)
        return Rings(
            start,
            self.day[entries],
            offsets(lengths),
            self.category[scores],
            self.score[scores],
            self.counts[entries],
            self.own_share[scores] if len(self.own_share) else self.own_share,
        )


def append_day(rings: Rings, newest: Rings, capacity: int) -> Rings:
    """Every ring with its user's one entry of `newest` at the end; the oldest beyond `capacity` fall out."""
    kept = np.minimum(rings.n_days, capacity - 1)
    length = kept + 1
    start = offsets(length)
    n_old = len(rings.day)
    entries = np.empty(int(length.sum()), dtype=np.int64)
    is_new = np.zeros(len(entries), dtype=bool)
    is_new[start[1:] - 1] = True
    entries[~is_new] = ragged_index(rings.start[1:] - kept, kept)
    entries[is_new] = n_old + np.arange(newest.n_users)
    both = Rings(
        start=np.zeros(1, dtype=np.int64),
        day=np.concatenate([rings.day, newest.day]),
        score_start=np.concatenate([rings.score_start[:-1], newest.score_start + rings.score_start[-1]]),
        category=np.concatenate([rings.category, newest.category]),
        score=np.concatenate([rings.score, newest.score]),
        counts=np.concatenate([rings.counts, newest.counts]),
        own_share=np.concatenate([rings.own_share, newest.own_share]),
    )
    return both.take_entries(entries, start)


def ring_categories(column: pa.ChunkedArray) -> pa.Array:
    """All categories named in a `recent_days` column, with repetition."""
    return _flat(column).field("scores").flatten().field("category")


def weight_categories(column: pa.ChunkedArray) -> pa.Array:
    """All categories named in a `profile` or `former_profile` column, with repetition."""
    return _flat(column).field("category")


def read_rings(column: pa.ChunkedArray, codes: CategoryCodes) -> Rings:
    """A `recent_days` column as arrays."""
    entries = _flat(column)
    scores = entries.field("scores")
    pairs = scores.flatten()
    return Rings(
        start=offsets(_lengths(column)),
        day=entries.field("day").cast(pa.int32()).to_numpy().astype(np.int64),
        score_start=offsets(_lengths(scores)),
        category=codes.encode(pairs.field("category")),
        score=pairs.field("score").to_numpy().astype(np.float64),
        counts=entries.field("counts").flatten().to_numpy().reshape(-1, len(BEHAVIORS)),
        own_share=pairs.field("own_share").to_numpy(),
    )


def write_rings(rings: Rings, codes: CategoryCodes) -> pa.Array:
    """The `recent_days` column of these rings."""
    fields = _RING_TYPE.value_type
    width = len(BEHAVIORS)
    counts = pa.ListArray.from_arrays(
        pa.array(np.arange(len(rings.day) + 1, dtype=np.int32) * width),
        pa.array(np.ascontiguousarray(rings.counts, dtype=np.int32).ravel()),
    )
    scores = pa.StructArray.from_arrays(
        [codes.decode(rings.category), pa.array(rings.score.astype(np.float32)), on_grid(rings.own_share, SHARE_STEP)],
        fields=list(_SCORES_TYPE.value_type),
    )
    entries = pa.StructArray.from_arrays(
        [
            pa.array(rings.day.astype(np.int32)).cast(pa.date32()),
            pa.ListArray.from_arrays(pa.array(rings.score_start.astype(np.int32)), scores, type=_SCORES_TYPE),
            counts,
        ],
        fields=list(fields),
    )
    return pa.ListArray.from_arrays(pa.array(rings.start.astype(np.int32)), entries, type=_RING_TYPE)


def read_weights(column: pa.ChunkedArray, codes: CategoryCodes) -> Weights:
    """A `profile` column as arrays."""
    pairs = _flat(column)
    weight = pairs.field("weight").to_numpy().astype(np.float64)
    return Weights(offsets(_lengths(column)), codes.encode(pairs.field("category")), weight)


def write_weights(weights: Weights, codes: CategoryCodes) -> pa.Array:
    """The `profile` column of these weights."""
    pairs = pa.StructArray.from_arrays(
        [codes.decode(weights.category), on_grid(weights.weight, WEIGHT_STEP)],
        fields=list(_WEIGHTS_TYPE.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(weights.start.astype(np.int32)), pairs, type=_WEIGHTS_TYPE)


def on_grid(value: NDArray[np.floating[Any]], step: float) -> pa.Array:
    """`value` rounded to multiples of `step`, as single floats."""
    return pa.array((np.round(value / step) * step).astype(np.float32))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.flatten()


def _lengths(column: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(pc.list_value_length(column).to_numpy(), dtype=np.int64)


def _chunks(array: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return array.chunks if isinstance(array, pa.ChunkedArray) else [array]


def floats(column: pa.ChunkedArray) -> Floats:
    """Numbers of a column; nan where it is null."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def integers(column: pa.ChunkedArray, missing: int) -> Ints:
    """Numbers of a column; `missing` where it is null."""
    return np.asarray(pc.fill_null(column, missing).to_numpy(), dtype=np.int64)
