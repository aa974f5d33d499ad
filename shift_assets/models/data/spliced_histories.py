"""Spliced histories: the events of one user, continued by those of another. Known shifts made from a log's own parts.

Two constructions: a random day per user (training of the shift head), and one day for all users (training and
evaluation of the shift classifier of recommendations). Days of interest, without single events, are spliced in
`shift.learned.splices`. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int64

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.models.data.prediction_points import PredictionPoints, Timeline
from shift_assets.models.data.sequences import GAP_BUCKETS, RETURN, Sequences, flat_ranges

SECONDS_PER_DAY = 86_400
DONOR_DRAWS = 8
"""Random donors tried for a user before the user is left out."""


@dataclass(frozen=True)
class SplicedHistories:
    """Pairs of histories of the same user: one continued by another user, the donor, and one by the user itself.

    Attributes:
        sequences: The histories.
        splice_days: First day [history] on which the donor's events may come, as a count from 1970-01-01.
        spliced: Whether [history] a donor continues it.
        pair: Number [history] that the two histories of a user share.
    """

    sequences: Sequences
    splice_days: Int64[Int64Array, " history"]
    spliced: Bool[BoolArray, " history"]
    pair: Int64[Int64Array, " history"]

    @cached_property
    def owners(self) -> Int64Array:
        """History [event]."""
        return np.repeat(np.arange(len(self.sequences.users)), self.sequences.lengths)

    @cached_property
    def first_event(self) -> Int64Array:
        """First event [history] on or after the splice day; one past the last event where there is none."""
        before = self.sequences.days < self.splice_days[self.owners]
        return self.sequences.offsets[:-1] + np.bincount(self.owners[before], minlength=len(self.splice_days))

    def first_events(self, count: int) -> tuple[Int64Array, Int64Array]:
        """Histories and indices of the first `count` events from the splice day on, without returns."""
        number = np.arange(len(self.owners)) - self.first_event[self.owners]
        chosen = np.flatnonzero((number >= 0) & (number < count) & (self.sequences.behaviors != RETURN))
        return self.owners[chosen], chosen


def splice_at_random_days(
    sequences: Sequences, active_days: int, seed: int, *, maximum_users: int | None = None
) -> SplicedHistories:
    """Splice users at a random active day of their own; every event keeps its day.

    User and donor both have at least `active_days` active days on their side of the splice day. Users without a donor
    after DONOR_DRAWS draws are left out; at most `maximum_users` random users are spliced. The unspliced history of a
    user comes before the spliced one.
    """
    timeline = Timeline(sequences)
    random = np.random.default_rng([seed, 1])
    first_visit = np.searchsorted(timeline.visit_starts, sequences.offsets[:-1])
    n_visits = np.bincount(timeline.owners[timeline.visit_starts], minlength=len(sequences.users))
    users = np.sort(random.permutation(np.flatnonzero(n_visits >= 2 * active_days))[:maximum_users])
    before = random.integers(active_days, n_visits[users] - active_days + 1)
    days = sequences.days[timeline.visit_starts[first_visit[users] + before]]
    donors = _donors(timeline, users, days, active_days=active_days, random=random)
    users, days, donors = users[donors >= 0], days[donors >= 0], donors[donors >= 0]
    return SplicedHistories(
        _splice_pairs(timeline, users, days, donors),
        splice_days=np.repeat(days, 2),
        spliced=np.tile([False, True], len(users)),
        pair=np.repeat(np.arange(len(users)), 2),
    )


def splice_at_day(
    before: Sequences, after: Sequences, day: int, *, minimum_days: int, maximum_pairs: int, seed: int
) -> SplicedHistories | None:
    """Continue histories `before` a day by those from it on, of the same user and of another one.

    A user qualifies with `minimum_days` active days before the splice day and an event from it on; of those at most
    `maximum_pairs` are drawn. They are continued in a random cycle, so that every continuation is used twice: by its
    own user and by another. First come all unspliced histories, then the spliced ones in the same order.

    Args:
        before: Events before `day`; both are packed with the same vocabulary.
        after: Events from `day` on.
        day: The splice day of all, as a count from 1970-01-01.

    Returns:
        The histories; None where fewer than two users qualify.
    """
    owners = np.repeat(np.arange(len(before.users)), before.lengths)
    active = np.unique(np.stack([owners, before.days]), axis=1)[0]
    active_days = np.bincount(active, minlength=len(before.users))
    position = {user: number for number, user in enumerate(after.users)}
    qualified = [n for n, user in enumerate(before.users) if active_days[n] >= minimum_days and user in position]
    if len(qualified) < 2:
        return None
    chosen = np.random.default_rng(seed).permutation(qualified)[:maximum_pairs]
    own = np.array([position[before.users[user]] for user in chosen])
    first, second = np.tile(chosen, 2), np.concatenate([own, np.roll(own, 1)])
    sequences, _ = _concatenate(
        (before, before.offsets[first], before.offsets[first + 1]),
        (after, after.offsets[second], after.offsets[second + 1]),
        users=tuple(before.users[user] for user in first),
    )
    everyone = np.arange(2 * len(chosen))
    return SplicedHistories(sequences, np.full(len(everyone), day), everyone >= len(chosen), everyone % len(chosen))


def shift_labels(
    histories: SplicedHistories, points: PredictionPoints, active_days: int
) -> tuple[Bool[BoolArray, " point"], Bool[BoolArray, " point"]]:
    """Whether a donor took over recently [point], and which points count [point].

    True on the first `active_days` active days from the splice day on of a spliced history; false before it, and in
    unspliced histories. Later points of a spliced history do not count: by then the donor's interest is the usual one.
    """
    timeline, owner = points.timeline, points.owners
    splice_event = np.minimum(timeline.first_from(owner, histories.splice_days[owner]), len(timeline.visits) - 1)
    since = timeline.visits[points.events] - timeline.visits[splice_event]
    after = timeline.sequences.days[points.events] >= histories.splice_days[owner]
    shifted = histories.spliced[owner] & after
    return shifted & (since < active_days), ~(shifted & (since >= active_days))


def _donors(
    timeline: Timeline, users: Int64Array, days: Int64Array, *, active_days: int, random: np.random.Generator
) -> Int64Array:
    """Another of the users [user] with enough active days from the splice day on; -1 where none was drawn."""
    donors = np.full(len(users), -1)
    ends = np.append(timeline.visits + 1, timeline.visits[-1:] + 2)
    for _ in range(DONOR_DRAWS if len(users) > 1 else 0):
        drawn = users[random.integers(0, len(users), len(users))]
        begin = timeline.first_from(drawn, days)
        end = timeline.sequences.offsets[drawn + 1]
        visits = np.where(begin < end, ends[end - 1] - timeline.visits[np.minimum(begin, end - 1)], 0)
        donors = np.where((donors < 0) & (drawn != users) & (visits >= active_days), drawn, donors)
    return donors


def _splice_pairs(timeline: Timeline, users: Int64Array, days: Int64Array, donors: Int64Array) -> Sequences:
    """The whole history of each user, then its events before `days[user]` and the donor's from that day on."""
    sequences = timeline.sequences
    cut, begin = timeline.first_from(users, days), timeline.first_from(donors, days)
    none = np.zeros_like(cut)
    names = [name for user in users.tolist() for name in (sequences.users[user], f"{sequences.users[user]} spliced")]
    spliced, joins = _concatenate(
        (sequences, np.repeat(sequences.offsets[users], 2), np.stack([sequences.offsets[users + 1], cut], 1).ravel()),
        (sequences, np.stack([none, begin], 1).ravel(), np.stack([none, sequences.offsets[donors + 1]], 1).ravel()),
        users=tuple(names),
    )
    # The donor's first event comes whole days after the user's last one: its own gap was to the donor's past.
    silence = sequences.days[begin] - sequences.days[cut - 1]
    gaps = spliced.gaps.copy()
    gaps[joins[1::2]] = 1 + np.minimum(np.floor(np.log2(1 + silence * SECONDS_PER_DAY)), GAP_BUCKETS - 2).astype(
        np.int64
    )
    return replace(spliced, gaps=gaps)


_Ranges = tuple[Sequences, Int64Array, Int64Array]
"""Sequences, and the first and one past the last of the events taken for each history."""


def _concatenate(heads: _Ranges, tails: _Ranges, users: tuple[str, ...]) -> tuple[Sequences, Int64Array]:
    """Histories of a head range and a tail range each, and the first event [history] of the tail."""
    head_owner, head = flat_ranges(*heads[1:])
    tail_owner, tail = flat_ranges(*tails[1:])
    order = np.argsort(np.concatenate([head_owner, tail_owner]), kind="stable")
    head_lengths, tail_lengths = (np.maximum(end - start, 0) for _, start, end in (heads, tails))
    offsets = np.concatenate(([0], np.cumsum(head_lengths + tail_lengths)))

    def both(name: str) -> Int64Array:
        return np.concatenate([getattr(heads[0], name)[head], getattr(tails[0], name)[tail]])[order]

    names = ("items", "categories", "behaviors", "gaps", "days")
    histories = Sequences(users, offsets, **{name: both(name) for name in names})
    return histories, offsets[:-1] + head_lengths
