"""The look-back window that every candidate generator reads, packed once, and views of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.day import day_number
from shift_assets.models.data.sequences import Sequences, Vocabulary, pack
from shift_assets.settings.root import RecommendationSettings

BLOCK_VALUES = 2**21
"""Scores of a block of users held at once: 8 MiB."""
UserItems = tuple[Int64Array, Int64Array]
"""Pairs of user and item, as two parallel arrays."""

_RETURN, _PURCHASE = BEHAVIORS.index("return") + 1, BEHAVIORS.index("purchase") + 1


@dataclass(frozen=True)
class Window:
    """Users' histories up to and including `day`, and the users to be served.

    Items are indices into `vocabulary.items`, -1 for one that it does not hold. Users are indices into
    `sequences.users`.

    Attributes:
        day: Last day of the window.
        vocabulary: Items and categories of the window.
        sequences: Events of every user in time order; event arrays run along it.
        target_users: Users to be served, ascending, [target user].
        today: Day number from which the ages of a user's events count, [user].
    """

    day: date
    vocabulary: Vocabulary
    sequences: Sequences
    target_users: Int64Array
    today: Int64Array

    # `new_items` will be passed once the pipeline recommends catalogue items that nobody has interacted with yet.
    @classmethod
    def of(
        cls, events: pa.Table, day: date, settings: RecommendationSettings, new_items: pa.Table | None = None
    ) -> Window:
        """Pack the `look_back_days` that end on `day`; the users active within `active_within_days` are served.

        Args:
            events: Rows of clean_events, in any order and of any days.
            day: Last day of the window.
            settings: Lengths of the window.
            new_items: Columns item_id and category: items to add to the vocabulary though nobody has interacted
                with them. Those without a category are left out.
        """
        first = day - timedelta(days=settings.look_back_days - 1)
        inside = events.filter(pc.and_(pc.greater_equal(events["day"], first), pc.less_equal(events["day"], day)))
        named = inside.select(["item_id", "category"])
        if new_items is not None:
            unseen = pc.invert(pc.is_in(new_items["item_id"], value_set=pc.unique(inside["item_id"])))
            added = new_items.filter(pc.and_(unseen, pc.is_valid(new_items["category"])))
            named = pa.concat_tables([named, added.select(["item_id", "category"]).cast(named.schema)])
        vocabulary = Vocabulary.of(named)
        sequences = pack(inside, vocabulary)
        last_day = sequences.days[sequences.offsets[1:] - 1]
        target_users = np.flatnonzero(day_number(day) - last_day < settings.active_within_days)
        return cls(day, vocabulary, sequences, target_users, np.full(len(sequences.users), day_number(day)))

    def since(self, first: Int64Array) -> Window:
        """The same users with their events from day number `first[user]` on."""
        return replace(self, sequences=self.sequences.since(first))

    def prefixes(self, users: Int64Array, ends: Int64Array) -> Window:
        """One history per pair: the events of `users[i]` before event number `ends[i]`, as of the last of them.

        All of them are target users. Events are numbered along `sequences`.
        """
        histories = self.sequences.prefixes(users, ends)
        today = np.full(len(users), day_number(self.day))
        some = histories.lengths > 0
        today[some] = histories.days[histories.offsets[1:][some] - 1]
        return replace(self, sequences=histories, target_users=np.arange(len(users)), today=today)

    @property
    def item_count(self) -> int:
        return len(self.vocabulary.items)

    @cached_property
    def target_user_ids(self) -> list[str]:
        """Pseudonym [target user]."""
        return [self.sequences.users[user] for user in self.target_users]

    @cached_property
    def owners(self) -> Int64Array:
        """User [event]."""
        return np.repeat(np.arange(len(self.sequences.users)), self.sequences.lengths)

    @cached_property
    def items(self) -> Int64Array:
        """Item [event]."""
        return self.sequences.items - 1

    @cached_property
    def ages(self) -> Int64Array:
        """Days [event] since the event; 0 on the user's `today`."""
        return self.today[self.owners] - self.sequences.days

    @cached_property
    def visits(self) -> Int64Array:
        """Number [event] of the visit, counted from 0 through all users; a visit is an active day of a user."""
        days, owners = self.sequences.days, self.owners
        return np.cumsum((np.diff(days, prepend=days[:1]) != 0) | (np.diff(owners, prepend=owners[:1]) != 0))

    @cached_property
    def returned(self) -> BoolArray:
        """Whether the event is a return, [event]."""
        return np.asarray(self.sequences.behaviors == _RETURN)

    @cached_property
    def bought(self) -> BoolArray:
        """Whether the event is a purchase, [event]."""
        return np.asarray(self.sequences.behaviors == _PURCHASE)

    def user_items(self, weights: npt.NDArray[np.floating]) -> sparse.csr_matrix:
        """Sum of `weights[event]` as a sparse matrix [user, item]; returns and unknown items count nothing."""
        counted = ~self.returned & (self.items >= 0)
        return sparse.csr_matrix(
            (weights[counted].astype(np.float32), (self.owners[counted], self.items[counted])),
            shape=(len(self.sequences.users), self.item_count),
        )


def blocks_of(users: Int64Array, items: int) -> list[Int64Array]:
    """`users` in blocks of about BLOCK_VALUES scores for `items` items each; no users give one empty block."""
    return np.array_split(users, max(-(-len(users) * items // BLOCK_VALUES), 1))


def no_pairs() -> UserItems:
    """No user and no item."""
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
