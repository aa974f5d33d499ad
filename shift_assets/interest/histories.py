"""Whole histories of many users as flat arrays, from `interest_series`: the input of detectors and their evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.interest.series import Step
from shift_assets.interest.user_days import UserDays

HOURS = 24


@dataclass(frozen=True, slots=True)
class Histories:
    """All active days of the users of one segment, or of a sample of them.

    With the step `hour`, an entry is an active hour and its number counts hours since 1970-01-01 on the shop's clock.
    """

    users: pa.StringArray  # [user], sorted
    codes: CategoryCodes
    user_days: UserDays  # unbounded: every active day, oldest first; user u is `users[u]`
    step: Step = "day"

    @property
    def numbers_per_day(self) -> int:
        """By how much the numbers of two entries a day apart differ."""
        return HOURS if self.step == "hour" else 1

    def take_users(self, users: Int64Array) -> Histories:
        """Only the users at these positions, in this order."""
        return replace(self, users=self.users.take(pa.array(users)), user_days=self.user_days.take_users(users))


def histories(series: pa.Table, step: Step = "day") -> Histories:
    """Return the histories in `interest_series` of one segment.

    Args:
        series: `interest_series` of the segment, in any order of rows; with the column `hour` for the step `hour`.
        step: what one entry is. A week is a run of seven calendar days, the last of them ending on the newest day of
            `series`; its entry has the number of its last day, and scores and counts summed over its days.
    """
    day = series["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    if step == "week" and len(day):
        day = day + (day.max() - day) % 7
    elif step == "hour":
        day = day * HOURS + series["hour"].to_numpy()
    users = pc.unique(series["user_id"])
    users = users.take(pc.sort_indices(users))
    codes = CategoryCodes(series["category"])
    user_days = UserDays.from_cells(
        pc.index_in(series["user_id"], value_set=users).to_numpy().astype(np.int64),
        day,
        behavior_counts(series),
        cell_row=np.arange(len(day)),
        category=codes.encode(series["category"]),
        score=series["score"].to_numpy(),
        n_users=len(users),
        n_categories=len(codes),
    )
    return Histories(users, codes, user_days, step)


def behavior_counts(series: pa.Table) -> Int64Array:
    """Events of every row of `interest_series`, [row, behavior], in the contract's order of behaviours."""
    return np.stack([series[f"n_{behavior}"].to_numpy() for behavior in BEHAVIORS], axis=1)
