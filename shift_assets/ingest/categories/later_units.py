"""Assign units that appear after the fit to the group that their visitors prefer.

A visitor's visits show which groups the visitor likes, and a unit of group g is visited by those who like g. If the
units of a group are alike, the log-likelihood of group g is the sum over the unit's visitors of log(visitor's share of
g / overall share of g), and the prior is the group's share of the known units.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int32, Int64

from shift_assets.arrays import Float64Array, Int32Array, Int64Array

WINDOW_DAYS = 28
"""Days of visits that a visitor's preferences, and a unit's visitors, are counted over."""

ENOUGH_VISITORS = 3
"""Visitors with which a unit joins at once. Of hidden units of UserBehavior (and of half a year of Online Retail II) 45
(33) of 100 come back into their own of 40 groups with two visitors, 52 (41) with three, 64 (65) with ten; 31 (25) with
one."""

LONGEST_WAIT_DAYS = 7
"""Days after the first visit at which a unit joins with the visitors that it has."""

PRIOR_VISITS = 20.0
"""Visits with the overall mix of groups that are added to a visitor's own. Of 1, 5 and 20 the best on both logs."""

_SCORE_DIGITS = 9


class DayOfVisits(NamedTuple):
    """Who visited what on one landed day, as codes; each pair once."""

    day: date
    user: Int32[Int32Array, " visit"]
    unit: Int32[Int32Array, " visit"]


class LaterUnits:
    """The known units and the last WINDOW_DAYS days of visits; finds the units that join a group on a day.

    The result of a day depends on nothing but the known units and the visits of the days before it.
    """

    def __init__(self, known: Mapping[str, int], groups: int) -> None:
        self._users: dict[str, int] = {}
        self._units = {unit: code for code, unit in enumerate(known)}
        self._group = np.fromiter(known.values(), np.int32, len(known))
        self._groups = groups
        self._window: deque[DayOfVisits] = deque()

    def knows(self, unit: str) -> bool:
        """Whether `unit` has a group."""
        code = self._units.get(unit)
        return code is not None and bool(self._group[code] >= 0)

    def assign(self, joined: Mapping[str, int]) -> None:
        """Give units their groups."""
        codes = self._codes(self._units, list(joined))
        self._extend_groups()
        self._group[codes] = list(joined.values())

    def days_to_add(self, day: date) -> Iterator[date]:
        """Drop the visits that do not count on `day`, and return the days before it whose visits are to be added."""
        while self._window and self._window[0].day < day - timedelta(days=WINDOW_DAYS):
            self._window.popleft()
        while self._window and self._window[-1].day >= day:
            self._window.pop()
        first = self._window[-1].day + timedelta(days=1) if self._window else day - timedelta(days=WINDOW_DAYS)
        return (first + timedelta(days=number) for number in range((day - first).days))

    def add(self, day: date, visits: pa.Table) -> None:
        """Add the visits (user_id, unit; each pair once) of the day after the newest one."""
        user = self._codes(self._users, visits["user_id"].to_pylist())
        unit = self._codes(self._units, visits["unit"].to_pylist())
        self._extend_groups()
        self._window.append(DayOfVisits(day, user, unit))

    def joining(self, day: date) -> dict[str, int]:
        """Return the group of each unit that joins on `day`, by the visits that were added; nothing is assigned."""
        if not self._window:
            return {}
        user = np.concatenate([each.user for each in self._window])
        unit = np.concatenate([each.unit for each in self._window])
        new = self._group[unit] < 0
        if not new.any():
            return {}
        ready = self._ready(day, unit[new])
        of_ready = new & np.isin(unit, ready)
        pairs = np.unique(np.stack([unit[of_ready], user[of_ready]]), axis=1)
        if not pairs.shape[1]:
            return {}
        visitors, row = np.unique(pairs[1], return_inverse=True)
        counts = self._visits_by_group(visitors, user[~new], self._group[unit[~new]])
        overall = np.bincount(self._group[unit[~new]], minlength=self._groups).astype(np.float64)
        return self._preferred(pairs[0], pairs[1], row, counts, overall)

    def _ready(self, day: date, unit: Int32Array) -> Int32Array:
        """Codes of new units that have enough visitors, or have waited long enough."""
        ages = np.concatenate([np.full(len(each.unit), (day - each.day).days) for each in self._window])
        users = np.concatenate([each.user for each in self._window])
        units = np.concatenate([each.unit for each in self._window])
        new = self._group[units] < 0
        codes, position = np.unique(unit, return_inverse=True)
        age = np.zeros(len(codes), np.int64)
        np.maximum.at(age, position, ages[new])
        pairs = np.unique(np.stack([position, users[new]]), axis=1)
        visitors = np.bincount(pairs[0], minlength=len(codes))
        return codes[(visitors >= ENOUGH_VISITORS) | (age >= LONGEST_WAIT_DAYS)]

    def _visits_by_group(
        self, visitors: Int32Array, user: Int32Array, group: Int32Array
    ) -> Float64[Float64Array, "visitor group"]:
        position = np.searchsorted(visitors, user)
        position[position == len(visitors)] = 0
        own = visitors[position] == user
        cells = position[own].astype(np.int64) * self._groups + group[own]
        return np.bincount(cells, minlength=len(visitors) * self._groups).reshape(-1, self._groups).astype(np.float64)

    def _preferred(
        self,
        unit: Int32[Int32Array, " pair"],
        user: Int32[Int32Array, " pair"],
        row: Int64[Int64Array, " pair"],
        counts: Float64[Float64Array, "visitor group"],
        overall: Float64[Float64Array, " group"],
    ) -> dict[str, int]:
        """The likeliest group of each unit that a user with known visits has visited."""
        if not overall.sum():
            return {}
        share = overall / overall.sum()
        visited = share > 0
        own = counts.sum(axis=1, keepdims=True)
        mix = (counts + PRIOR_VISITS * share)[:, visited] / (own + PRIOR_VISITS)
        log_ratio = np.log(mix / share[visited])
        sizes = np.bincount(self._group[self._group >= 0], minlength=self._groups)[visited]
        prior = np.log(sizes + 1.0)
        groups = np.flatnonzero(visited)
        names, people = list(self._units), list(self._users)
        by_unit: dict[int, list[int]] = {}
        for pair, code in enumerate(unit.tolist()):
            by_unit.setdefault(code, []).append(pair)
        joined: dict[str, int] = {}
        for code, its_pairs in by_unit.items():
            rows = row[sorted(its_pairs, key=lambda pair: people[user[pair]])]
            if own[rows].any():
                score = np.round(prior + log_ratio[rows].sum(axis=0), _SCORE_DIGITS)
                joined[names[code]] = int(groups[np.argmax(score)])
        return dict(sorted(joined.items()))

    def _extend_groups(self) -> None:
        missing = len(self._units) - len(self._group)
        self._group = np.concatenate([self._group, np.full(missing, -1, np.int32)])

    @staticmethod
    def _codes(codes: dict[str, int], names: list[str]) -> Int32Array:
        return np.fromiter((codes.setdefault(name, len(codes)) for name in names), np.int32, len(names))
