"""Whole histories of many users as flat arrays, out of `interest_series`: what detectors and their judges run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, offsets
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.interest.user_days import UserDays

Step = Literal["day", "week"]


@dataclass(frozen=True, slots=True)
class Histories:
    """All active days of the users of one segment, or of a sample of them."""

    users: pa.StringArray  # [user], sorted
    codes: CategoryCodes
    user_days: UserDays  # unbounded: every active day, oldest first; user u is `users[u]`

    def take_users(self, users: np.ndarray) -> Histories:
        """Only the users at these positions, in this order."""
        return Histories(self.users.take(pa.array(users)), self.codes, self.user_days.take_users(users))


def histories(series: pa.Table, step: Step = "day") -> Histories:
    """The histories in `interest_series` of one segment, in any order of rows.

    step: what one entry is. A week is a run of seven calendar days, the last of them ending on the newest day of
    `series`; its entry bears the number of its last day. Scores and counts of a week are sums over its days.
    """
    day = series["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    if step == "week" and len(day):
        day = day + (day.max() - day) % 7
    users = pc.unique(series["user_id"])
    users = users.take(pc.sort_indices(users))
    codes = CategoryCodes(series["category"])
    user = pc.index_in(series["user_id"], value_set=users).to_numpy().astype(np.int64)
    category = codes.encode(series["category"])
    first, n_days = (int(day.min()), int(day.max() - day.min()) + 1) if len(day) else (0, 1)
    entry_key, entry = np.unique(user * n_days + day - first, return_inverse=True)
    cell_key, cell = np.unique(entry * max(len(codes), 1) + category, return_inverse=True)
    counts = np.zeros((len(entry_key), len(BEHAVIORS)), dtype=np.int32)
    for column, behavior in enumerate(BEHAVIORS):
        counts[:, column] = np.bincount(entry, series[f"n_{behavior}"].to_numpy(), minlength=len(entry_key))
    return Histories(
        users,
        codes,
        UserDays(
            start=offsets(np.bincount(entry_key // n_days, minlength=len(users))),
            day=entry_key % n_days + first,
            score_start=offsets(np.bincount(cell_key // max(len(codes), 1), minlength=len(entry_key))),
            category=cell_key % max(len(codes), 1),
            score=np.bincount(cell, series["score"].to_numpy(), minlength=len(cell_key)).astype(np.float64),
            counts=counts,
        ),
    )
