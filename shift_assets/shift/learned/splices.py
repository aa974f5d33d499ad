"""Labelled shifts from a log itself: histories spliced of two users, against histories without a shift.

Nothing is simulated: the days of user A before a splice point and the days of user B from it on, each on the day on
which it happened, so that seasons and promotions stay as they were. The evaluation of detectors and the learned
detector both use them (Schonlau et al., "Computer Intrusion: Detecting Masquerades", Statistical Science 16 (2001),
contaminated users' command logs in this way). A permutation null is a user's own days in another order: the same
days, without a shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from shift_assets.arrays import Float64Array, Int64Array, ragged_index
from shift_assets.contracts.shift import DONORS
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays

Kind = Literal["unspliced", "random", "same_tier", "nearest_profile", "odd_even", "shuffled", "gift"]
TIERS = 3
"""Groups of users by their number of active days."""
MINIMUM_DISTANCE = 0.3
"""Minimum total variation to the nearest profile: a nearer one counts as the same interest."""
GIFT_DAYS = 2
"""Shopping for somebody else often takes two days."""
PARTIAL = 0.4
"""Share of A's own days that remain in a partial shift."""


class Construction(NamedTuple):
    """How histories are made; `kept` is the share of A's own days that remain from the splice point on."""

    kind: Kind
    kept: float = 0.0

    @property
    def is_shift(self) -> bool:
        """Whether the history is a positive example."""
        return self.kind in DONORS


UNSPLICED = Construction("unspliced", 1.0)
SPLICED = Construction("random")
SHIFTS = tuple(Construction(donor, kept) for kept in (0.0, PARTIAL) for donor in DONORS)
NULLS = (UNSPLICED, Construction("odd_even", 1.0), Construction("shuffled", 1.0), Construction("gift", 1.0))
CONSTRUCTIONS = (*NULLS, *SHIFTS)


@dataclass(frozen=True, slots=True)
class SplicePoints:
    """The users under test and the splice point of each; donors come from the user's own fold."""

    user: Int64Array  # [splice point], position in the histories
    day: Int64Array  # [splice point], the active day from which a donor takes over, days since 1970-01-01
    fold: Int64Array  # [splice point]
    tier: Int64Array  # [splice point]
    active_days: int  # minimum before every splice point, and from it on


@dataclass(frozen=True, slots=True)
class Cases:
    """The constructed histories of the users under test, among the unchanged ones of all other users."""

    construction: Construction
    histories: Histories  # users as in the original; those under test have the constructed history
    user: Int64Array  # [case], position in the histories
    donor: Int64Array  # [case], position in the histories; -1 without a donor
    fold: Int64Array  # [case]
    day: Int64Array  # [case], the splice point
    entry: Int64Array  # [case], the first entry from the splice point on
    donor_distance: Float64Array  # [case], total variation of A's profile before and B's from the splice point on

    def first_days(self, days: int) -> Int64Array:
        """Return the entries [case, days] of the first active days from the splice point on, -1 beyond the last."""
        entries = self.entry[:, None] + np.arange(days)
        return np.asarray(np.where(entries < self.histories.user_days.start[self.user + 1][:, None], entries, -1))


def draw_splice_points(
    histories: Histories,
    active_days: int,
    seed: int,
    *,
    draw: int = 0,
    folds: int = 1,
    maximum_users: int | None = None,
    days_before: int | None = None,
) -> SplicePoints:
    """Draw a splice point for every user with enough active days on both sides of it.

    Args:
        histories: users of one segment.
        active_days: minimum number of active days before the splice point, and from it on.
        seed: seed of users, folds and days.
        draw: number of the draw; another one splices the same users, in the same folds, on other days.
        folds: number of folds.
        maximum_users: number of users to draw; None for all.
        days_before: minimum number of active days before the splice point; None for `active_days`.
    """
    random = np.random.default_rng([seed, 0])
    user_days = histories.user_days
    n_days = user_days.n_days
    fewest = active_days if days_before is None else days_before
    users = random.permutation(np.flatnonzero(n_days >= fewest + active_days))[:maximum_users]
    fold = np.arange(len(users), dtype=np.int64) % folds
    order = np.argsort(users)
    users, fold = users[order], fold[order]
    random = np.random.default_rng([seed, 4, draw])
    before = random.integers(fewest, n_days[users] - active_days + 1)
    rank = np.argsort(np.argsort(n_days[users], kind="stable"), kind="stable")
    return SplicePoints(
        users, user_days.day[user_days.start[users] + before], fold, rank * TIERS // max(len(users), 1), active_days
    )


def construct(histories: Histories, splice_points: SplicePoints, construction: Construction, seed: int) -> Cases:
    """Return the histories with every user under test replaced by its construction.

    - `random`, `same_tier`, `nearest_profile`: A's days before the splice point, the donor's from it on. With `kept`,
      each of A's later days remains with that probability and each of the donor's is added with the rest of it. A user
      for whom no donor has enough days left, or is far enough, is no case and remains unspliced.
    - `odd_even`, `shuffled` (permutation nulls): A's odd days, then its even ones; its days in random order. Both are
      on A's own calendar.
    - `gift`: the first GIFT_DAYS days from the splice point on have the content of a donor's days.
    - `unspliced`: A's own days.

    Args:
        histories: users of one segment.
        splice_points: users under test.
        construction: the construction.
        seed: seed of donors and days.
    """
    random = np.random.default_rng([seed, 1, CONSTRUCTIONS.index(construction)])
    plan = _Plan(histories, splice_points, construction)
    if construction.kind in ("odd_even", "shuffled"):
        return plan.permuted(None if construction.kind == "odd_even" else random)
    if construction.kind == "unspliced":
        return plan.cases(np.arange(len(splice_points.user)), np.full(len(splice_points.user), -1), histories.user_days)
    donors = _Donors(histories, splice_points)
    chosen = [donors.choose(case, construction.kind, random) for case in range(len(splice_points.user))]
    case = np.array([n for n, found in enumerate(chosen) if found is not None], dtype=np.int64)
    donor = np.array([found.splice_point for found in chosen if found is not None], dtype=np.int64)
    distance = np.array([found.distance for found in chosen if found is not None])
    if construction.kind == "gift":
        return plan.with_gift(case, donor, distance)
    return plan.spliced(case, donor, distance, kept=construction.kept, random=random)


class _ChosenDonor(NamedTuple):
    splice_point: int
    distance: float


class _Donors:
    """Possible donors: users under test in the same fold, with enough active days from the splice point on."""

    def __init__(self, histories: Histories, splice_points: SplicePoints) -> None:
        user_days = histories.user_days.take_users(splice_points.user)
        shares = user_days.dense_share(len(histories.codes))
        self._until = np.vstack([np.zeros(shares.shape[1]), np.cumsum(shares, axis=0)])  # [entry + 1, category]
        self._user_days, self._splice_points = user_days, splice_points
        self._first = int(user_days.day.min()) if len(user_days.day) else 0
        self._span = int(user_days.day.max()) - self._first + 2 if len(user_days.day) else 1
        self._key = user_days.user * self._span + user_days.day - self._first

    def choose(self, case: int, kind: Kind, random: np.random.Generator) -> _ChosenDonor | None:
        """Choose the donor of a case; None without a possible one."""
        splice_points, user_days = self._splice_points, self._user_days
        may = (splice_points.fold == splice_points.fold[case]) & (
            (splice_points.tier == splice_points.tier[case]) | (kind != "same_tier")
        )
        may[case] = False
        candidates = np.flatnonzero(may)
        begin = np.searchsorted(self._key, candidates * self._span + splice_points.day[case] - self._first)
        long_enough = user_days.start[candidates + 1] - begin >= splice_points.active_days
        candidates, begin = candidates[long_enough], begin[long_enough]
        if not len(candidates):
            return None
        splice_point = int(np.searchsorted(self._key, case * self._span + splice_points.day[case] - self._first))
        own = _normalised(self._until[splice_point] - self._until[user_days.start[case]])
        donor_mix = _normalised(self._until[user_days.start[candidates + 1]] - self._until[begin])
        distance = 0.5 * np.abs(donor_mix - own).sum(axis=1)
        if kind != "nearest_profile":
            chosen = int(random.integers(len(candidates)))
        else:
            distance_from = np.where(distance >= MINIMUM_DISTANCE, distance, np.inf)
            chosen = int(np.argmin(distance_from))
            if not np.isfinite(distance_from[chosen]):
                return None
        return _ChosenDonor(int(candidates[chosen]), float(distance[chosen]))


class _Plan:
    """Composes the histories of one construction from entries of the original."""

    def __init__(self, histories: Histories, splice_points: SplicePoints, construction: Construction) -> None:
        user_days = histories.user_days
        self._construction = construction
        self._histories, self._user_days, self._splice_points = histories, user_days, splice_points
        self._n_categories = len(histories.codes)
        self._user, self._day = user_days.user, user_days.day
        splice_point = np.full(user_days.n_users, np.iinfo(np.int64).max)
        splice_point[splice_points.user] = splice_points.day
        self._is_before = self._day < splice_point[self._user]

    def spliced(
        self, case: Int64Array, donor: Int64Array, distance: Float64Array, *, kept: float, random: np.random.Generator
    ) -> Cases:
        """Continue the users' days before the splice point with the donors' days."""
        user_days, splice_points = self._user_days, self._splice_points
        donor_users = splice_points.user[donor]
        lengths = user_days.n_days[donor_users]
        entry = ragged_index(user_days.start[donor_users], lengths)
        receiver = np.repeat(splice_points.user[case], lengths)
        from_donor = self._day[entry] >= np.repeat(splice_points.day[case], lengths)
        is_case = np.zeros(user_days.n_users, dtype=bool)
        is_case[splice_points.user[case]] = True
        from_user = self._is_before | ~is_case[self._user]
        if kept:
            from_donor &= random.random(len(from_donor)) >= kept
            from_user |= random.random(len(from_user)) < kept
        rows = np.flatnonzero(from_user)
        composed = _compose(
            user_days,
            np.concatenate([self._user[rows], receiver[from_donor]]),
            np.concatenate([rows, entry[from_donor]]),
            np.concatenate([self._day[rows], self._day[entry[from_donor]]]),
            self._n_categories,
        )
        return self.cases(case, donor_users, composed, distance=distance)

    def with_gift(self, case: Int64Array, donor: Int64Array, distance: Float64Array) -> Cases:
        """Replace the first days from the splice point on by a donor's days."""
        user_days, splice_points = self._user_days, self._splice_points
        entry = np.arange(len(self._day), dtype=np.int64)
        first = self._first_entries(user_days, splice_points.user, splice_points.day)
        of_donor = self._first_entries(user_days, splice_points.user[donor], splice_points.day[case])
        for day in range(min(GIFT_DAYS, splice_points.active_days)):  # both have at least as many days left
            entry[first[case] + day] = of_donor + day
        composed = _compose(user_days, self._user, entry, self._day, self._n_categories)
        return self.cases(case, splice_points.user[donor], composed, distance=distance)

    def permuted(self, random: np.random.Generator | None) -> Cases:
        """Put the users' own days into random order, or odd before even days without a generator."""
        user_days, splice_points = self._user_days, self._splice_points
        entry = np.arange(len(self._day), dtype=np.int64)
        day = splice_points.day.copy()
        for case, user in enumerate(splice_points.user):
            days = np.arange(user_days.start[user], user_days.start[user + 1])
            odd, even = days[::2], days[1::2]
            entry[days] = np.concatenate([odd, even]) if random is None else random.permutation(days)
            if random is None:
                day[case] = self._day[days[len(odd)]]
        composed = _compose(user_days, self._user, entry, self._day, self._n_categories)
        everyone = np.arange(len(splice_points.user))
        return self.cases(everyone, np.full(len(everyone), -1), composed, day=day)

    def cases(
        self,
        case: Int64Array,
        donor: Int64Array,
        composed: UserDays,
        *,
        distance: Float64Array | None = None,
        day: Int64Array | None = None,
    ) -> Cases:
        """The cases of these users under test, in `composed` histories."""
        splice_points = self._splice_points
        splice_point = splice_points.day[case] if day is None else day[case]
        user = splice_points.user[case]
        return Cases(
            self._construction,
            replace(self._histories, user_days=composed),
            user,
            donor,
            splice_points.fold[case],
            splice_point,
            self._first_entries(composed, user, splice_point),
            np.full(len(case), np.nan) if distance is None else distance,
        )

    @staticmethod
    def _first_entries(user_days: UserDays, user: Int64Array, day: Int64Array) -> Int64Array:
        """The first entry of each user on or after the day, [user]."""
        if not len(user_days.day):
            return np.zeros(len(user), dtype=np.int64)
        first, span = int(user_days.day.min()), int(user_days.day.max() - user_days.day.min()) + 2
        return np.searchsorted(
            user_days.user * span + user_days.day - first, user * span + np.clip(day - first, 0, span - 1)
        )


def _compose(user_days: UserDays, user: Int64Array, entry: Int64Array, day: Int64Array, n_categories: int) -> UserDays:
    """User days with the content of `entry[i]` of the original on `day[i]` of `user[i]`; what coincides is added."""
    lengths = np.diff(user_days.score_start)[entry]
    scores = ragged_index(user_days.score_start[entry], lengths)
    return UserDays.from_cells(
        user,
        day,
        user_days.counts[entry],
        cell_row=np.repeat(np.arange(len(entry)), lengths),
        category=user_days.category[scores],
        score=user_days.score[scores],
        n_users=user_days.n_users,
        n_categories=n_categories,
    )


def _normalised(mass: Float64Array) -> Float64Array:
    """`mass` as shares; 0 where there is none."""
    total = mass.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(mass, total, out=np.zeros_like(mass), where=total > 0))
