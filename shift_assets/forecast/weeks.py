"""Interest series by week: scores of every user and category, the newest week ending on a chosen day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, sum_by
from shift_assets.contracts.day import day_number

DAYS = 7
SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Weeks:
    """Weekly scores of pairs of a user and a category; the last week ends on `last_day`."""

    last_day: date
    users: pa.Array  # [user], sorted
    codes: CategoryCodes
    user: Int64Array  # [pair], ascending
    category: Int64Array  # [pair], ascending within a user
    score: Float64Array  # [pair, week]
    weekend: Float64Array  # [user, week], score of Saturdays and Sundays
    total: Float64Array  # [user, week], score of all categories
    segment: Float64Array  # [category, week], score of all users

    def take_rows(self, maximum: int, first_week: int) -> Weeks:
        """Only the first users, with at most `maximum` rows (pairs on visited weeks from `first_week` on) in total.

        The segment's scores remain those of all users. Pseudonyms are keyed digests, so the first of them are a
        random sample, and the same one every time.
        """
        visited = (self.total[:, first_week:] > 0).sum(axis=1)
        rows = np.cumsum(np.bincount(self.user, minlength=len(self.users)) * visited)
        n_users = int(np.searchsorted(rows, maximum, "right"))
        n_pairs = int(np.searchsorted(self.user, n_users))
        return Weeks(
            self.last_day,
            self.users.slice(0, n_users),
            self.codes,
            self.user[:n_pairs],
            self.category[:n_pairs],
            self.score[:n_pairs],
            self.weekend[:n_users],
            self.total[:n_users],
            self.segment,
        )


def weeks(series: pa.Table, last_day: date, n_weeks: int) -> Weeks:
    """Return the `n_weeks` weeks that end on `last_day`; pairs are those with a score above 0.

    Args:
        series: `interest_series` of one segment; other days are ignored.
        last_day: last day of the newest week.
        n_weeks: number of weeks.
    """
    age = day_number(last_day) - series["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    score = series["score"].to_numpy()
    inside = (age >= 0) & (age < n_weeks * DAYS) & (score > 0)
    rows = series.select(["user_id", "category"]).filter(pa.array(inside))
    age, score = age[inside], score[inside]
    week = n_weeks - 1 - age // DAYS
    users = pc.unique(rows["user_id"])
    users = users.take(pc.sort_indices(users))
    codes = CategoryCodes(rows["category"])
    n_users, n_codes = len(users), max(len(codes), 1)
    user = pc.index_in(rows["user_id"], value_set=users).to_numpy().astype(np.int64)
    category = codes.encode(rows["category"])
    pair_key, pair = np.unique(user * n_codes + category, return_inverse=True)
    weekday = (last_day.weekday() - age) % DAYS

    def by_week(row: Int64Array, value: Float64Array, n_rows: int) -> Float64Array:
        return sum_by(row * n_weeks + week, value, n_rows * n_weeks).reshape(n_rows, n_weeks)

    return Weeks(
        last_day,
        users,
        codes,
        pair_key // n_codes,
        pair_key % n_codes,
        by_week(pair, score, len(pair_key)),
        by_week(user, np.where(weekday >= SATURDAY, score, 0.0), n_users),
        by_week(user, score, n_users),
        by_week(category, score, len(codes)),
    )
