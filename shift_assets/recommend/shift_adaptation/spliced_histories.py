"""Spliced histories: labelled shifts of interest made from a log's own events.

At a splice day the history of a user A continues with the events of another user B; A with its own events is the same
case without a shift. No event is synthetic, and a fit on the days before the splice has not seen what follows.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.contracts.day import day_number
from shift_assets.models.data.sequences import RETURN, Sequences, flat_ranges, pack
from shift_assets.recommend.window import Window


class SplicedHistories(NamedTuple):
    """Pairs of histories, one spliced and one that continues as itself.

    Attributes:
        window: The histories; all are target users.
        border: First day after the splice.
        shifted: Whether the history continues as another user's, [user].
        pair: Number of the pair, the same for both histories of a user, [user].
    """

    window: Window
    border: date
    shifted: BoolArray
    pair: Int64Array

    @property
    def first_event(self) -> Int64Array:
        """Number [user] of the first event since the border; one past the user's last where there is none."""
        sequences = self.window.sequences
        before = np.bincount(
            self.window.owners[sequences.days < day_number(self.border)], minlength=len(sequences.users)
        )
        return sequences.offsets[:-1] + before

    def prediction_points(self, events: int) -> tuple[Int64Array, Int64Array]:
        """Users and event numbers of the first `events` events since the border of every user, without returns."""
        sequences, owners = self.window.sequences, self.window.owners
        number = np.arange(len(owners)) - self.first_event[owners]
        chosen = np.flatnonzero((number >= 0) & (number < events) & (sequences.behaviors != RETURN))
        return owners[chosen], chosen


def splice_histories(
    events: pa.Table, before: Window, *, days: int, minimum_days: int, maximum_pairs: int, seed: int
) -> SplicedHistories | None:
    """Splice histories at the day after `before.day`.

    The continuations are assigned in a random cycle, so that each is used twice: by its own user and by another.

    Args:
        events: Rows of clean_events that cover the continuations.
        before: Histories up to the splice.
        days: Length of the continuations.
        minimum_days: Active days before the splice that a user needs; an event after it is needed too.
        maximum_pairs: Users drawn, at most.
        seed: Seed of the draw and the cycle.

    Returns:
        The histories; None where fewer than two users qualify.
    """
    border, last = before.day + timedelta(days=1), before.day + timedelta(days=days)
    known, owners = before.sequences, before.owners
    active = np.unique(np.stack([owners, known.days]), axis=1)[0]
    active_days = np.bincount(active, minlength=len(known.users))
    after = pack(events.filter((pc.field("day") >= border) & (pc.field("day") <= last)), before.vocabulary)
    position = {user: number for number, user in enumerate(after.users)}
    qualified = [n for n, user in enumerate(known.users) if active_days[n] >= minimum_days and user in position]
    if len(qualified) < 2:
        return None
    chosen = np.random.default_rng(seed).permutation(qualified)[:maximum_pairs]
    own = np.array([position[known.users[user]] for user in chosen])
    sequences = _concatenated(known, np.tile(chosen, 2), after, np.concatenate([own, np.roll(own, 1)]))
    everyone = np.arange(2 * len(chosen))
    window = Window(last, before.vocabulary, sequences, everyone, np.full(len(everyone), day_number(last)))
    return SplicedHistories(window, border, everyone >= len(chosen), everyone % len(chosen))


def _concatenated(before: Sequences, first: Int64Array, after: Sequences, second: Int64Array) -> Sequences:
    """Sequence i: events of user `first[i]` of `before`, then those of user `second[i]` of `after`."""
    heads, tails = before.lengths[first], after.lengths[second]
    head_owner, head = flat_ranges(before.offsets[first], before.offsets[first + 1])
    tail_owner, tail = flat_ranges(after.offsets[second], after.offsets[second + 1])
    order = np.argsort(np.concatenate([head_owner, tail_owner]), kind="stable")

    def both(name: str) -> Int64Array:
        return np.concatenate([getattr(before, name)[head], getattr(after, name)[tail]])[order]

    return Sequences(
        users=tuple(before.users[user] for user in first),
        offsets=np.concatenate(([0], np.cumsum(heads + tails))),
        items=both("items"),
        categories=both("categories"),
        behaviors=both("behaviors"),
        gaps=both("gaps"),
        days=both("days"),
    )
