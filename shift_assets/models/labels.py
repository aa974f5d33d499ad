"""What the days after a look brought: labels that the log itself supplies. No torch.

Nothing here looks past the last day that it is given: what had not been seen wholly by then is masked, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shift_assets.contracts import BEHAVIORS
from shift_assets.models.moments import PURCHASE, Flags, Floats, Moments, Timeline
from shift_assets.models.sequences import GAP_BUCKETS, Integers, Sequences, flat_ranges

CHURN_WEEKS = 8
"""Weekly bins in which a user may return; who has not by then is beyond the model."""
SECONDS_PER_DAY = 86_400
DONOR_TRIES = 8


@dataclass(frozen=True)
class Labels:
    """What is foretold, for every look.

    `shares[entry]` is the share of category code `categories[entry]` in the score of the days after look
    `looks[entry]`; a look without entries is masked. `purchase[look]` counts where `purchase_known[look]`.
    `returned[look, week]` counts where `at_risk[look, week]`: the user had not returned in an earlier week, and the
    week was seen wholly.
    """

    looks: Integers
    categories: Integers
    shares: Floats
    purchase: Flags
    purchase_known: Flags
    returned: Flags
    at_risk: Flags

    def take(self, which: Integers) -> Labels:
        """The labels of the looks at these places, in this order."""
        look, entry = flat_ranges(np.searchsorted(self.looks, which), np.searchsorted(self.looks, which, side="right"))
        return Labels(
            look,
            self.categories[entry],
            self.shares[entry],
            self.purchase[which],
            self.purchase_known[which],
            self.returned[which],
            self.at_risk[which],
        )


def behavior_points(weights: Mapping[str, float]) -> Floats:
    """Points [behaviour code] of an event, from the weights of `interest`; a rating, its stars unknown here, has 1."""
    return np.array([0.0, *(weights.get(name, 1.0 if name == "rating" else 0.0) for name in BEHAVIORS)], np.float32)


def labels(timeline: Timeline, moments: Moments, last_day: int, horizon_days: int, points: Floats) -> Labels:
    """The labels of looks at a log that was observed up to and with `last_day`.

    `points[behaviour code]` weigh the events of the `horizon_days` after a look; a category's sum is floored at 0.
    """
    sequences = timeline.sequences
    owner = timeline.owners[moments.events]
    start = timeline.first_from(owner, moments.days + 1)
    end = timeline.first_from(owner, np.minimum(moments.days + horizon_days, last_day) + 1)
    look, event = flat_ranges(start, end)
    width = int(sequences.categories.max(initial=0)) + 1
    pairs, place = np.unique(look * width + sequences.categories[event], return_inverse=True)
    score = np.bincount(place, weights=points[sequences.behaviors[event]], minlength=len(pairs))
    kept = (score > 0) & (pairs % width > 0)
    looks, categories, score = pairs[kept] // width, pairs[kept] % width, score[kept]
    totals = np.bincount(looks, weights=score, minlength=len(moments))
    bought = np.concatenate(([0], np.cumsum(sequences.behaviors == PURCHASE)))
    returned, at_risk = _returns(timeline, moments, start, last_day)
    return Labels(
        looks,
        categories,
        (score / totals[looks]).astype(np.float32),
        bought[np.maximum(end, start)] > bought[start],
        moments.days + horizon_days <= last_day,
        returned,
        at_risk,
    )


def _returns(timeline: Timeline, moments: Moments, following: Integers, last_day: int) -> tuple[Flags, Flags]:
    """The week of the first visit after each look, and the weeks in which it could be seen, [look, week].

    A discrete-time hazard with censoring, as in deep survival models of retail customers (arXiv 2304.00575). A week
    that ends after `last_day` is masked even where the user did return in it: else only those who come early in a
    week that is cut short would count, and they always come.
    """
    sequences = timeline.sequences
    place = np.minimum(following, len(sequences.days) - 1)
    ends = sequences.offsets[timeline.owners[moments.events] + 1]
    waited = np.where(following < ends, sequences.days[place] - moments.days, np.iinfo(np.int32).max)
    week = (waited[:, None] - 1) // 7
    weeks = np.arange(CHURN_WEEKS)
    seen = moments.days[:, None] + 7 * (weeks + 1) <= last_day
    return (week == weeks) & seen, (week >= weeks) & seen


@dataclass(frozen=True)
class Splices:
    """Histories joined of two users, and the same users left whole, in the same number.

    `cuts[user]` is the first day on which another may have taken over; `spliced[user]` says whether one did.
    """

    sequences: Sequences
    cuts: Integers
    spliced: Flags


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
        _joined(sequences, users, cut, donors=donors, begin=timeline.first_from(donors, cuts)),
        np.repeat(cuts, 2),
        np.tile([False, True], len(users)),
    )


def _donors(
    timeline: Timeline, users: Integers, cuts: Integers, *, active_days: int, random: np.random.Generator
) -> Integers:
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


def _joined(sequences: Sequences, users: Integers, cut: Integers, *, donors: Integers, begin: Integers) -> Sequences:
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


def shift_labels(timeline: Timeline, made: Splices, moments: Moments, active_days: int) -> tuple[Flags, Flags]:
    """Whether another took over lately [look], and which looks count [look].

    True on the first `active_days` active days from the cut on of a spliced history; false before it, and in whole
    ones. Later looks at a spliced history do not count: there the new interest is the old one.
    """
    owner = timeline.owners[moments.events]
    cut = np.minimum(timeline.first_from(owner, made.cuts[owner]), len(timeline.visits) - 1)
    since = timeline.visits[moments.events] - timeline.visits[cut]
    after = timeline.sequences.days[moments.events] >= made.cuts[owner]
    shifted = made.spliced[owner] & after
    return shifted & (since < active_days), ~(shifted & (since >= active_days))
