"""Labels that a log itself supplies: histories joined of two users, against histories left whole.

Nothing is invented: the days of user A before a cut and the days of user B from it on, each on the day on which it
happened, so that seasons and promotions stay true. A judge of detectors and the learned detector both start here
(Schonlau et al., Statistical Science 2001, contaminated the command logs of users in this way).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from shift_assets.contracts import DONORS
from shift_assets.shift.histories import Histories
from shift_assets.shift.rings import Floats, Ints, Rings, offsets, ragged_index

Kind = Literal["unspliced", "random", "same_tier", "nearest_profile", "placebo", "shuffled", "gift"]
TIERS = 3
"""Thirds of the users by their number of active days."""
MINIMUM_DISTANCE = 0.3
"""Total variation from which a nearest profile counts as another interest."""
PARTIAL = 0.4
"""Share of A's own days that a partial shift keeps."""


class Construction(NamedTuple):
    """How the histories of one pass are made; `kept` is the share of A's own days that stay after the cut."""

    kind: Kind
    kept: float = 0.0

    @property
    def is_shift(self) -> bool:
        return self.kind in DONORS


UNSPLICED = Construction("unspliced", 1.0)
SHIFTS = tuple(Construction(donor, kept) for kept in (0.0, PARTIAL) for donor in DONORS)
NULLS = (UNSPLICED, Construction("placebo", 1.0), Construction("shuffled", 1.0), Construction("gift", 1.0))
CONSTRUCTIONS = (*NULLS, *SHIFTS)


@dataclass(frozen=True, slots=True)
class Cuts:
    """The users under test and the day that cuts each one's history; donors come from the user's own fold."""

    user: Ints  # [cut], position in the histories
    day: Ints  # [cut], the user's active day from which another may take over, days since 1970-01-01
    fold: Ints  # [cut]
    tier: Ints  # [cut]
    active_days: int  # that every user under test has before its cut, and from it on

    def of_folds(self, folds: Ints) -> Cuts:
        chosen = np.isin(self.fold, folds)
        return Cuts(self.user[chosen], self.day[chosen], self.fold[chosen], self.tier[chosen], self.active_days)


@dataclass(frozen=True, slots=True)
class Cases:
    """The histories of one pass that are judged; all others in it are their surroundings."""

    construction: Construction
    histories: Histories  # users as in the original; those under test have the constructed history
    user: Ints  # [case], position in the histories
    donor: Ints  # [case], position in the histories; -1 without a donor
    fold: Ints  # [case]
    day: Ints  # [case], the cut
    entry: Ints  # [case], the first entry from the cut on
    donor_distance: Floats  # [case], total variation of A's profile before and B's from the cut on; nan without

    def first_days(self, days: int) -> Ints:
        """Entries [case, days] of the first active days from the cut on; -1 where there are fewer."""
        entries = self.entry[:, None] + np.arange(days)
        return np.asarray(np.where(entries < self.histories.rings.start[self.user + 1][:, None], entries, -1))


def cut_histories(
    histories: Histories,
    active_days: int,
    seed: int,
    *,
    draw: int = 0,
    folds: int = 1,
    maximum_users: int | None = None,
) -> Cuts:
    """A random cut of every user with enough active days on both sides of it, of at most `maximum_users` of them.

    Users and their folds depend on `seed` alone; another `draw` cuts the same users on other days.
    """
    random = np.random.default_rng([seed, 0])
    rings = histories.rings
    n_days = rings.n_days
    users = random.permutation(np.flatnonzero(n_days >= 2 * active_days))[:maximum_users]
    fold = np.arange(len(users), dtype=np.int64) % folds
    order = np.argsort(users)
    users, fold = users[order], fold[order]
    random = np.random.default_rng([seed, 4, draw])
    before = random.integers(active_days, n_days[users] - active_days + 1)
    rank = np.argsort(np.argsort(n_days[users], kind="stable"), kind="stable")
    return Cuts(users, rings.day[rings.start[users] + before], fold, rank * TIERS // max(len(users), 1), active_days)


def construct(histories: Histories, cuts: Cuts, construction: Construction, seed: int) -> Cases:
    """The histories with every user under test replaced by its construction.

    - `random`, `same_tier`, `nearest_profile`: A's days before the cut, the donor's from it on. With `kept`, each of
      A's later days stays with that probability and each of the donor's comes with the rest of it. A user for whom
      no donor has enough days left, or lies far enough, is no case and stays whole.
    - `placebo`: A's odd days, then its even ones; `shuffled`: its days in random order; both on A's own calendar.
    - `gift`: the first day from the cut on holds what a donor did on one day.
    """
    random = np.random.default_rng([seed, 1, CONSTRUCTIONS.index(construction)])
    plan = _Plan(histories, cuts, construction)
    if construction.kind in ("placebo", "shuffled"):
        return plan.rearranged(None if construction.kind == "placebo" else random)
    if construction.kind == "unspliced":
        return plan.cases(np.arange(len(cuts.user)), np.full(len(cuts.user), -1), histories.rings)
    donors = _Donors(histories, cuts)
    chosen = [donors.choose(case, construction.kind, random) for case in range(len(cuts.user))]
    case = np.array([n for n, found in enumerate(chosen) if found is not None], dtype=np.int64)
    donor = np.array([found.cut for found in chosen if found is not None], dtype=np.int64)
    distance = np.array([found.distance for found in chosen if found is not None])
    if construction.kind == "gift":
        return plan.with_gift(case, donor, distance)
    return plan.spliced(case, donor, distance, kept=construction.kept, random=random)


class _Found(NamedTuple):
    cut: int
    distance: float


class _Donors:
    """Who may take over from whom: users under test in one fold, with enough active days from the cut on."""

    def __init__(self, histories: Histories, cuts: Cuts) -> None:
        rings = histories.rings.take_users(cuts.user)
        shares = rings.dense_share(len(histories.codes))
        self._until = np.vstack([np.zeros(shares.shape[1]), np.cumsum(shares, axis=0)])  # [entry + 1, category]
        self._rings, self._cuts = rings, cuts
        self._first = int(rings.day.min()) if len(rings.day) else 0
        self._span = int(rings.day.max()) - self._first + 2 if len(rings.day) else 1
        self._key = rings.user * self._span + rings.day - self._first

    def choose(self, case: int, kind: Kind, random: np.random.Generator) -> _Found | None:
        cuts, rings = self._cuts, self._rings
        may = (cuts.fold == cuts.fold[case]) & ((cuts.tier == cuts.tier[case]) | (kind != "same_tier"))
        may[case] = False
        candidates = np.flatnonzero(may)
        begin = np.searchsorted(self._key, candidates * self._span + cuts.day[case] - self._first)
        long_enough = rings.start[candidates + 1] - begin >= cuts.active_days
        candidates, begin = candidates[long_enough], begin[long_enough]
        if not len(candidates):
            return None
        cut = int(np.searchsorted(self._key, case * self._span + cuts.day[case] - self._first))
        own = _normalised(self._until[cut] - self._until[rings.start[case]])
        theirs = _normalised(self._until[rings.start[candidates + 1]] - self._until[begin])
        distance = 0.5 * np.abs(theirs - own).sum(axis=1)
        if kind != "nearest_profile":
            chosen = int(random.integers(len(candidates)))
        else:
            distance_from = np.where(distance >= MINIMUM_DISTANCE, distance, np.inf)
            chosen = int(np.argmin(distance_from))
            if not np.isfinite(distance_from[chosen]):
                return None
        return _Found(int(candidates[chosen]), float(distance[chosen]))


class _Plan:
    """Which entry of the original stands on which day of whom."""

    def __init__(self, histories: Histories, cuts: Cuts, construction: Construction) -> None:
        rings = histories.rings
        self._construction = construction
        self._histories, self._rings, self._cuts = histories, rings, cuts
        self._n_categories = len(histories.codes)
        self._user, self._day = rings.user, rings.day
        cut = np.full(rings.n_users, np.iinfo(np.int64).max)
        cut[cuts.user] = cuts.day
        self._is_before = self._day < cut[self._user]

    def spliced(self, case: Ints, donor: Ints, distance: Floats, *, kept: float, random: np.random.Generator) -> Cases:
        rings, cuts = self._rings, self._cuts
        given = cuts.user[donor]
        lengths = rings.n_days[given]
        entry = ragged_index(rings.start[given], lengths)
        receiver = np.repeat(cuts.user[case], lengths)
        comes = self._day[entry] >= np.repeat(cuts.day[case], lengths)
        is_case = np.zeros(rings.n_users, dtype=bool)
        is_case[cuts.user[case]] = True
        stays = self._is_before | ~is_case[self._user]
        if kept:
            comes &= random.random(len(comes)) >= kept
            stays |= random.random(len(stays)) < kept
        rows = np.flatnonzero(stays)
        made = _composed(
            rings,
            np.concatenate([self._user[rows], receiver[comes]]),
            np.concatenate([rows, entry[comes]]),
            np.concatenate([self._day[rows], self._day[entry[comes]]]),
            self._n_categories,
        )
        return self.cases(case, given, made, distance=distance)

    def with_gift(self, case: Ints, donor: Ints, distance: Floats) -> Cases:
        rings, cuts = self._rings, self._cuts
        entry = np.arange(len(self._day), dtype=np.int64)
        first = self._first_entries(rings, cuts.user, cuts.day)
        entry[first[case]] = self._first_entries(rings, cuts.user[donor], cuts.day[case])
        made = _composed(rings, self._user, entry, self._day, self._n_categories)
        return self.cases(case, cuts.user[donor], made, distance=distance)

    def rearranged(self, random: np.random.Generator | None) -> Cases:
        rings, cuts = self._rings, self._cuts
        entry = np.arange(len(self._day), dtype=np.int64)
        day = cuts.day.copy()
        for case, user in enumerate(cuts.user):
            days = np.arange(rings.start[user], rings.start[user + 1])
            odd, even = days[::2], days[1::2]
            entry[days] = np.concatenate([odd, even]) if random is None else random.permutation(days)
            if random is None:
                day[case] = self._day[days[len(odd)]]
        made = _composed(rings, self._user, entry, self._day, self._n_categories)
        everyone = np.arange(len(cuts.user))
        return self.cases(everyone, np.full(len(everyone), -1), made, day=day)

    def cases(
        self, case: Ints, donor: Ints, made: Rings, *, distance: Floats | None = None, day: Ints | None = None
    ) -> Cases:
        cuts = self._cuts
        cut = cuts.day[case] if day is None else day[case]
        user = cuts.user[case]
        return Cases(
            self._construction,
            Histories(self._histories.users, self._histories.codes, made),
            user,
            donor,
            cuts.fold[case],
            cut,
            self._first_entries(made, user, cut),
            np.full(len(case), np.nan) if distance is None else distance,
        )

    @staticmethod
    def _first_entries(rings: Rings, user: Ints, day: Ints) -> Ints:
        """The first entry of each user on or after the day, [user]."""
        if not len(rings.day):
            return np.zeros(len(user), dtype=np.int64)
        first, span = int(rings.day.min()), int(rings.day.max() - rings.day.min()) + 2
        return np.searchsorted(rings.user * span + rings.day - first, user * span + np.clip(day - first, 0, span - 1))


def _composed(rings: Rings, user: Ints, entry: Ints, day: Ints, n_categories: int) -> Rings:
    """Rings in which `entry[i]` of the original stands on `day[i]` of `user[i]`; what meets on a day is added."""
    first, span = int(day.min()), int(day.max() - day.min()) + 1
    key, place = np.unique(user * span + day - first, return_inverse=True)
    lengths = np.diff(rings.score_start)[entry]
    scores = ragged_index(rings.score_start[entry], lengths)
    cell_key, cell = np.unique(
        np.repeat(place, lengths) * max(n_categories, 1) + rings.category[scores], return_inverse=True
    )
    counts = np.zeros((len(key), rings.counts.shape[1]), dtype=rings.counts.dtype)
    np.add.at(counts, place, rings.counts[entry])
    return Rings(
        start=offsets(np.bincount(key // span, minlength=rings.n_users)),
        day=key % span + first,
        score_start=offsets(np.bincount(cell_key // max(n_categories, 1), minlength=len(key))),
        category=cell_key % max(n_categories, 1),
        score=np.bincount(cell, rings.score[scores], minlength=len(cell_key)).astype(np.float64),
        counts=counts,
    )


def _normalised(mass: Floats) -> Floats:
    total = mass.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(mass, total, out=np.zeros_like(mass), where=total > 0))
