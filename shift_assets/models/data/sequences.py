"""Sequences of events per user, as integer codes in order of time.

What belongs here: the vocabulary, packing, time gaps, and the chunks that a training step reads. What does not:
anything that needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int64

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS

RETURN = BEHAVIORS.index("return") + 1
RECENT_DAYS = 14.0
REPEAT_FEATURES = 3
GAP_BUCKETS = 33
"""0 for the first event of a sequence, else 1 + floor(log2(1 + seconds since the event before)), at most 32."""


@dataclass(frozen=True)
class Vocabulary:
    """Items and categories that a model knows; code 0 is any other one.

    `items[i]` has code i + 1, and so have categories; `item_categories[code]` is the category code of an item code.
    """

    items: tuple[str, ...]
    categories: tuple[str, ...]
    item_categories: Int64Array

    @classmethod
    def of(cls, events: pa.Table) -> Vocabulary:
        """The vocabulary of `events`, sorted by name; an item with several categories gets its most frequent one."""
        items, item_codes = _encode(events["item_id"])
        categories, category_codes = _encode(events["category"])
        item_categories = np.zeros(len(items) + 1, dtype=np.int64)
        pairs, counts = np.unique(item_codes * (len(categories) + 1) + category_codes, return_counts=True)
        order = np.lexsort((-pairs, counts))
        item_categories[pairs[order] // (len(categories) + 1) + 1] = pairs[order] % (len(categories) + 1) + 1
        return cls(tuple(items), tuple(categories), item_categories)

    def item_codes(self, names: pa.ChunkedArray | pa.Array) -> Int64Array:
        return _lookup(self.items, names)

    def category_codes(self, names: pa.ChunkedArray | pa.Array) -> Int64Array:
        return _lookup(self.categories, names)


@dataclass(frozen=True)
class Sequences:
    """Users' events packed one after the other, each user's in order of time.

    Attributes:
        users: Pseudonym [user], in order of name; those of `prefixes` repeat.
        offsets: User u has the events `offsets[u]` to before `offsets[u + 1]`.
        items: Item code [event] of the vocabulary.
        categories: Category code [event] of the vocabulary.
        behaviors: Index [event] in BEHAVIORS, from 1.
        gaps: Bucket [event] of the time since the user's event before.
        days: Day [event] as a count from 1970-01-01.
    """

    users: tuple[str, ...]
    offsets: Int64Array
    items: Int64[Int64Array, " event"]
    categories: Int64[Int64Array, " event"]
    behaviors: Int64[Int64Array, " event"]
    gaps: Int64[Int64Array, " event"]
    days: Int64[Int64Array, " event"]

    @property
    def lengths(self) -> Int64Array:
        return np.diff(self.offsets)

    def recoded(self, own: Vocabulary, other: Vocabulary) -> Sequences:
        """The same events, whose codes are those of `own`, in the codes of `other`."""
        items = np.append(0, other.item_codes(pa.array(own.items, pa.string())))
        categories = np.append(0, other.category_codes(pa.array(own.categories, pa.string())))
        return replace(self, items=items[self.items], categories=categories[self.categories])

    def until(self, day: int) -> Sequences:
        """The events before `day`; users without any get an empty sequence."""
        return self.where(self.days < day)

    def of_users(self, users: Int64Array) -> Sequences:
        """The sequences of some users, given by ascending indices."""
        selected = self.where(np.isin(np.repeat(np.arange(len(self.users)), self.lengths), users))
        offsets = np.append(selected.offsets[:-1][users], selected.offsets[-1])
        return replace(selected, users=tuple(self.users[u] for u in users), offsets=offsets)

    def since(self, first: Int64Array) -> Sequences:
        """The events of every user from day `first[user]` on; the first of them has gap bucket 0."""
        selected = self.where(self.days >= np.repeat(first, self.lengths))
        gaps = selected.gaps.copy()
        gaps[selected.offsets[:-1][selected.lengths > 0]] = 0
        return replace(selected, gaps=gaps)

    def prefixes(self, users: Int64Array, ends: Int64Array) -> Sequences:
        """Prefixes of users' sequences: sequence i holds the events of user `users[i]` before event `ends[i]`."""
        _, events = flat_ranges(self.offsets[users], ends)
        return Sequences(
            users=tuple(self.users[user] for user in users),
            offsets=np.concatenate(([0], np.cumsum(ends - self.offsets[users]))),
            items=self.items[events],
            categories=self.categories[events],
            behaviors=self.behaviors[events],
            gaps=self.gaps[events],
            days=self.days[events],
        )

    def where(self, keep: Bool[BoolArray, " event"]) -> Sequences:
        """The events marked in `keep[event]`; gap buckets are not changed, as is right for prefixes."""
        return Sequences(
            users=self.users,
            offsets=np.concatenate(([0], np.cumsum(keep)))[self.offsets],
            items=self.items[keep],
            categories=self.categories[keep],
            behaviors=self.behaviors[keep],
            gaps=self.gaps[keep],
            days=self.days[keep],
        )


def pack(events: pa.Table, vocabulary: Vocabulary) -> Sequences:
    """Pack events into sequences.

    Events of a user at the same instant are ordered by their event_id: a digest, so that neither the order of the
    source file nor the alphabet can leak into the training.

    Args:
        events: clean_events in any order.
        vocabulary: Codes of items and categories.
    """
    users, user_codes = _encode(events["user_id"])
    times = pc.cast(events["event_ts"], pa.int64()).to_numpy()
    high, low = _digest_numbers(events["event_id"])
    order = np.lexsort((low, high, times, user_codes))
    user_codes, times = user_codes[order], times[order]
    offsets = np.searchsorted(user_codes, np.arange(len(users) + 1))
    seconds = np.diff(times, prepend=times[:1]) // 1_000_000
    gaps = 1 + np.minimum(np.floor(np.log2(1 + np.maximum(seconds, 0))), GAP_BUCKETS - 2).astype(np.int64)
    gaps[offsets[:-1]] = 0
    behaviors = pc.index_in(events["behavior"], value_set=pa.array(BEHAVIORS)).to_numpy().astype(np.int64) + 1
    return Sequences(
        users=tuple(users),
        offsets=offsets.astype(np.int64),
        items=vocabulary.item_codes(events["item_id"])[order],
        categories=vocabulary.category_codes(events["category"])[order],
        behaviors=behaviors[order],
        gaps=gaps,
        days=pc.cast(events["day"], pa.int32()).to_numpy().astype(np.int64)[order],
    )


@dataclass(frozen=True)
class Chunks:
    """Pieces of sequences that a training step reads: events `starts[i]` to before `starts[i] + lengths[i]`."""

    starts: Int64Array
    lengths: Int64Array


def chunks(sequences: Sequences, maximum_length: int) -> Chunks:
    """Divide every sequence into pieces of at most `maximum_length` events, counted from its end."""
    pieces = -(-sequences.lengths // maximum_length)
    owner = np.repeat(np.arange(len(pieces)), pieces)
    position = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ends = sequences.offsets[owner + 1] - position * maximum_length
    starts = np.maximum(ends - maximum_length, sequences.offsets[owner])
    return Chunks(starts, ends - starts)


def newest(sequences: Sequences, maximum_length: int) -> Chunks:
    """The newest `maximum_length` events of every user; length 0 where there are none."""
    ends = sequences.offsets[1:]
    starts = np.maximum(ends - maximum_length, sequences.offsets[:-1])
    return Chunks(starts, ends - starts)


def later_visit(sequences: Sequences) -> tuple[Int64Array, Int64Array]:
    """For every event, the first and one past the last of its user's events on later days; equal after the last day."""
    count = len(sequences.days)
    owner_end = np.repeat(sequences.offsets[1:], sequences.lengths)
    new_visit = np.ones(count, dtype=bool)
    new_visit[1:] = (np.diff(sequences.days) != 0) | (np.diff(owner_end) != 0)
    visit_starts = np.flatnonzero(new_visit)
    visit = np.cumsum(new_visit) - 1
    following = np.append(visit_starts, count)[visit + 1]
    return np.minimum(following, owner_end), owner_end


@dataclass(frozen=True)
class PastItems:
    """Items of histories, one entry per (history, item).

    `features[entry]` are weighed by the model's copy mechanism: 1, log(1 + events), and log(1 + events with a weight
    that halves every RECENT_DAYS).
    """

    histories: Int64[Int64Array, " entry"]
    items: Int64[Int64Array, " entry"]
    features: Float32[Float32Array, "entry feature"]


def past_items(sequences: Sequences, starts: Int64Array, ends: Int64Array) -> PastItems:
    """Items of the histories `starts[i]` to before `ends[i]`, as of the day of their last event, without returns."""
    history, event = flat_ranges(starts, ends)
    selected = sequences.behaviors[event] != RETURN
    history, event = history[selected], event[selected]
    ages = sequences.days[ends[history] - 1] - sequences.days[event]
    width = int(sequences.items.max(initial=0)) + 1
    pairs, entry = np.unique(history * width + sequences.items[event], return_inverse=True)
    times = np.bincount(entry, minlength=len(pairs))
    recent = np.bincount(entry, weights=np.exp2(-ages / RECENT_DAYS), minlength=len(pairs))
    features = np.stack([np.ones(len(pairs)), np.log1p(times), np.log1p(recent)], axis=1).astype(np.float32)
    return PastItems(pairs // width, pairs % width, features)


def flat_ranges(starts: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """All integers of the ranges `starts[i]` to before `ends[i]`, and the i of each.

    >>> owner, value = flat_ranges(np.array([3, 7]), np.array([5, 8]))
    >>> owner.tolist(), value.tolist()
    ([0, 0, 1], [3, 4, 7])
    """
    lengths = np.maximum(ends - starts, 0)
    owner = np.repeat(np.arange(len(starts)), lengths)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + starts[owner]


def _encode(names: pa.ChunkedArray) -> tuple[list[str], Int64Array]:
    """Distinct names, sorted, and the index of every value among them."""
    encoded = pc.dictionary_encode(names.combine_chunks())
    distinct = encoded.dictionary.to_pylist()
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    rank = np.empty(len(distinct), dtype=np.int64)
    rank[order] = np.arange(len(distinct))
    return [distinct[i] for i in order], rank[encoded.indices.to_numpy()]


def _lookup(known: tuple[str, ...], names: pa.ChunkedArray | pa.Array) -> Int64Array:
    found = pc.index_in(names, value_set=pa.array(known, type=pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64) + 1


def _digest_numbers(digests: pa.ChunkedArray) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The first 16 characters of hexadecimal digests as two arrays of numbers in the same order."""
    characters = pc.binary_slice(digests.cast(pa.binary()), 0, 16).to_pylist()
    numbers = np.frombuffer(b"".join(characters), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return numbers[:, 0], numbers[:, 1]
