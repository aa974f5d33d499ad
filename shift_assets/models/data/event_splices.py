"""Spliced histories, event by event: the labels of the shift head. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.models.data.prediction_points import PredictionTimes, Timeline
from shift_assets.models.data.sequences import GAP_BUCKETS, Sequences, flat_ranges

SECONDS_PER_DAY = 86_400


DONOR_TRIES = 8


@dataclass(frozen=True)
class Splices:
    """Histories joined of two users, and the same users left whole, in the same number.

    `cuts[user]` is the first day on which another may have taken over; `spliced[user]` says whether one did.
    """

    sequences: Sequences
    cuts: Int64Array
    spliced: BoolArray


def splices(sequences: Sequences, active_days: int, seed: int, *, maximum_users: int | None = None) -> Splices:
    """User A's events before a cut, a donor's from it on, each on the day on which it happened, beside A left whole.

    As `shift.splices` does for days of interest, here event by event. Both have at least `active_days` active days on
    their side of the cut; users for whom DONOR_TRIES random donors did not do are left out. At most `maximum_users`
    are spliced, drawn at random.
    """
    timeline = Timeline(sequences)
    random = np.random.default_rng([seed, 1])
    first_visit = np.searchsorted(timeline.visit_starts, sequences.offsets[:-1])
    n_visits = np.bincount(timeline.owners[timeline.visit_starts], minlength=len(sequences.users))
    users = np.sort(random.permutation(np.flatnonzero(n_visits >= 2 * active_days))[:maximum_users])
    before = random.integers(active_days, n_visits[users] - active_days + 1)
    cuts = sequences.days[timeline.visit_starts[first_visit[users] + before]]
    donors = _donors(timeline, users, cuts, active_days=active_days, random=random)
    users, cuts, donors = users[donors >= 0], cuts[donors >= 0], donors[donors >= 0]
    cut = timeline.first_from(users, cuts)
    return Splices(
        _splice_pairs(sequences, users, cut, donors=donors, begin=timeline.first_from(donors, cuts)),
        np.repeat(cuts, 2),
        np.tile([False, True], len(users)),
    )


def _donors(
    timeline: Timeline, users: Int64Array, cuts: Int64Array, *, active_days: int, random: np.random.Generator
) -> Int64Array:
    """Another of the users [user] with enough active days from the cut on; -1 where none was found."""
    donors = np.full(len(users), -1)
    ends = np.append(timeline.visits + 1, timeline.visits[-1:] + 2)
    for _ in range(DONOR_TRIES if len(users) > 1 else 0):
        drawn = users[random.integers(0, len(users), len(users))]
        begin = timeline.first_from(drawn, cuts)
        end = timeline.sequences.offsets[drawn + 1]
        visits = np.where(begin < end, ends[end - 1] - timeline.visits[np.minimum(begin, end - 1)], 0)
        donors = np.where((donors < 0) & (drawn != users) & (visits >= active_days), drawn, donors)
    return donors


def _splice_pairs(
    sequences: Sequences, users: Int64Array, cut: Int64Array, *, donors: Int64Array, begin: Int64Array
) -> Sequences:
    """Each user whole, then its events before `cut[user]` and the donor's from `begin[user]` on."""
    none = np.zeros_like(cut)
    starts = np.stack([sequences.offsets[users], none, sequences.offsets[users], begin], axis=1).ravel()
    ends = np.stack([sequences.offsets[users + 1], none, cut, sequences.offsets[donors + 1]], axis=1).ravel()
    _, events = flat_ranges(starts, ends)
    lengths = (ends - starts).reshape(-1, 2).sum(axis=1)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    gaps = sequences.gaps[events]
    joints = offsets[1::2] + cut - sequences.offsets[users]
    silence = sequences.days[begin] - sequences.days[cut - 1]
    # The first event of the donor comes whole days after the last one of the user: its own gap was to another past.
    gaps[joints] = 1 + np.minimum(np.floor(np.log2(1 + silence * SECONDS_PER_DAY)), GAP_BUCKETS - 2).astype(np.int64)
    names = [name for user in users.tolist() for name in (sequences.users[user], f"{sequences.users[user]} spliced")]
    return Sequences(
        tuple(names),
        offsets.astype(np.int64),
        sequences.items[events],
        sequences.categories[events],
        sequences.behaviors[events],
        gaps,
        sequences.days[events],
    )


def shift_labels(
    timeline: Timeline, made: Splices, prediction_times: PredictionTimes, active_days: int
) -> tuple[BoolArray, BoolArray]:
    """Whether another took over lately [look], and which looks count [look].

    True on the first `active_days` active days from the cut on of a spliced history; false before it, and in whole
    ones. Later looks at a spliced history do not count: there the new interest is the old one.
    """
    owner = timeline.owners[prediction_times.events]
    cut = np.minimum(timeline.first_from(owner, made.cuts[owner]), len(timeline.visits) - 1)
    since = timeline.visits[prediction_times.events] - timeline.visits[cut]
    after = timeline.sequences.days[prediction_times.events] >= made.cuts[owner]
    shifted = made.spliced[owner] & after
    return shifted & (since < active_days), ~(shifted & (since >= active_days))
