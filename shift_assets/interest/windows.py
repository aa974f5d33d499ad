"""The recent and the reference window of a user's active days, and the contrast between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, sum_by
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import StateSettings


def window_lengths(n_days: Int64Array, settings: StateSettings) -> tuple[Int64Array, Int64Array]:
    """Number of active days in the recent and in the reference window, [user] each.

    Where a user has fewer active days than both windows together, the recent window takes its setting or half of
    them, whichever is less.
    """
    n_recent = np.minimum(settings.recent_active_days, n_days // 2)
    return n_recent, np.minimum(n_days - n_recent, settings.reference_active_days)


def recent_entries(user_days: UserDays, settings: StateSettings) -> BoolArray:
    """Whether an entry lies in its user's recent window, [entry]; the others lie in the reference window."""
    n_recent, _ = window_lengths(user_days.n_days, settings)
    return user_days.age < np.repeat(n_recent, user_days.n_days)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Scores and counts of many users, summed over the days before and after a point in time.

    Scores are sparse: one cell per user and category with a score on either side, sorted by user, then category.
    """

    n_users: int
    user: Int64Array  # [cell]
    category: Int64Array  # [cell]
    before: Float64Array  # [cell], score summed over the days before
    after: Float64Array  # [cell], score summed over the days after
    days_before: Int64Array  # [user]
    days_after: Int64Array  # [user]
    counts_before: Float64Array  # [user, behavior]
    counts_after: Float64Array  # [user, behavior]

    def share_before(self) -> Float64Array:
        """Share of the user's score before, [cell]; nan where there was none."""
        return _shares(self.before, self.user, self.n_users)

    def share_after(self) -> Float64Array:
        """Share of the user's score after, [cell]; nan where there was none."""
        return _shares(self.after, self.user, self.n_users)


def contrast(user_days: UserDays, is_after: BoolArray, n_categories: int) -> Contrast:
    """Contrast the users' days where `is_after` [entry] is false with those where it is true."""
    n_users = user_days.n_users
    entry = user_days.score_entry
    key = user_days.user[entry] * max(n_categories, 1) + user_days.category
    cells, cell = np.unique(key, return_inverse=True)
    after = is_after[entry]
    side_counts = []
    for side in (~is_after, is_after):
        until = np.zeros((len(user_days.day) + 1, user_days.counts.shape[1]), dtype=np.int64)
        np.cumsum(user_days.counts * side[:, None], axis=0, out=until[1:])
        side_counts.append((until[user_days.start[1:]] - until[user_days.start[:-1]]).astype(np.float64))
    return Contrast(
        n_users=n_users,
        user=cells // max(n_categories, 1),
        category=cells % max(n_categories, 1),
        before=sum_by(cell, np.where(after, 0.0, user_days.score), len(cells)),
        after=sum_by(cell, np.where(after, user_days.score, 0.0), len(cells)),
        days_before=np.bincount(user_days.user[~is_after], minlength=n_users),
        days_after=np.bincount(user_days.user[is_after], minlength=n_users),
        counts_before=side_counts[0],
        counts_after=side_counts[1],
    )


def _shares(score: Float64Array, user: Int64Array, n_users: int) -> Float64Array:
    total = sum_by(user, score, n_users)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(score / total[user])
