"""Users' visits as of the days before a state, and who came after them, read from the state alone."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, list_lengths, list_values
from shift_assets.churn.bg_nbd import HORIZON_DAYS, Visits, visits_from_state
from shift_assets.contracts.day import day_number


class VisitHistory:
    """What rows of `interest_state` say about the visits as of an earlier day.

    A user who came on more days since than `recent_days` holds is taken to have come on the earlier day itself.

    Attributes:
        now: visits as of the state's day, [user].
        first: day of the first visit, [user].
    """

    now: Visits
    first: Float64[Float64Array, " user"]

    def __init__(self, state: pa.Table, day: date) -> None:
        """Read the state of the end of `day`."""
        recent = state["recent_days"].combine_chunks()
        self._n_days: Int64[Int64Array, " user"] = list_lengths(recent)
        self._end = np.cumsum(self._n_days)
        self._visit_day = list_values(recent).field("day").cast(pa.int32()).to_numpy().astype(np.int64)
        self._user = np.repeat(np.arange(len(state)), self._n_days)
        self.now = visits_from_state(state, day)
        self.first = day_number(day) - self.now.age

    def as_of(self, day: int) -> Visits:
        """The visits as of the end of `day`, [user]; one visit on the day for users who are not `known` by then."""
        since = self._visits_in(day + 1, np.iinfo(np.int64).max)
        last = np.full(len(self.now), float(day))
        older = np.flatnonzero(since < self._n_days)
        last[older] = self._visit_day[(self._end - 1 - since)[older]]
        first = np.minimum(self.first, day)
        return Visits(np.maximum(self.now.frequency - since, 0.0), last - first, day - first)

    def known(self, day: int) -> Bool[BoolArray, " user"]:
        """Whether the user had come by the end of `day`, [user]."""
        return self.first <= day

    def churned(self, day: int) -> Bool[BoolArray, " user"]:
        """Whether the user stayed away in the `HORIZON_DAYS` days after `day`, [user]; all of them have passed."""
        unknown = self._n_days == self._visits_in(day + HORIZON_DAYS + 1, np.iinfo(np.int64).max)
        return np.asarray((self._visits_in(day + 1, day + HORIZON_DAYS) == 0) & ~unknown)

    def _visits_in(self, first: int, last: int) -> Int64Array:
        inside = (self._visit_day >= first) & (self._visit_day <= last)
        return np.bincount(self._user[inside], minlength=len(self.now))
