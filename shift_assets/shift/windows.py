"""The two windows of a user's active days, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.settings import StateSettings
from shift_assets.shift.rings import Flags, Floats, Ints, Rings, sum_by


def window_lengths(n_days: Ints, settings: StateSettings) -> tuple[Ints, Ints]:
    """Active days in the recent and in the reference window, [user] each.

    A user with fewer active days than both windows ask for splits what there is: the recent window takes its
    setting or half, whichever is less.
    """
    n_recent = np.minimum(settings.recent_active_days, n_days // 2)
    return n_recent, np.minimum(n_days - n_recent, settings.reference_active_days)


def recent_entries(rings: Rings, settings: StateSettings) -> Flags:
    """Whether an entry lies in its user's recent window, [entry]; the others lie in the reference window."""
    n_recent, _ = window_lengths(rings.n_days, settings)
    return rings.age < np.repeat(n_recent, rings.n_days)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two sides of many users' days, side by side.

    Scores are sparse: one cell per user and category met on either side, sorted by user, then category.
    """

    n_users: int
    user: Ints  # [cell]
    category: Ints  # [cell]
    before: Floats  # [cell], score summed over the days before
    after: Floats  # [cell], score summed over the days after
    days_before: Ints  # [user]
    days_after: Ints  # [user]
    counts_before: Floats  # [user, behavior]
    counts_after: Floats  # [user, behavior]

    def share_before(self) -> Floats:
        """Share of the user's score before, [cell]; nan where there was none."""
        return _shares(self.before, self.user, self.n_users)

    def share_after(self) -> Floats:
        """Share of the user's score after, [cell]; nan where there was none."""
        return _shares(self.after, self.user, self.n_users)


def contrast(rings: Rings, is_after: Flags, n_categories: int) -> Contrast:
    """The users' days where `is_after` [entry] is false against those where it is true."""
    n_users = rings.n_users
    entry = rings.score_entry
    key = rings.user[entry] * max(n_categories, 1) + rings.category
    cells, cell = np.unique(key, return_inverse=True)
    after = is_after[entry]
    side_counts = []
    for side in (~is_after, is_after):
        until = np.zeros((len(rings.day) + 1, rings.counts.shape[1]), dtype=np.int64)
        np.cumsum(rings.counts * side[:, None], axis=0, out=until[1:])
        side_counts.append((until[rings.start[1:]] - until[rings.start[:-1]]).astype(np.float64))
    return Contrast(
        n_users=n_users,
        user=cells // max(n_categories, 1),
        category=cells % max(n_categories, 1),
        before=sum_by(cell, np.where(after, 0.0, rings.score), len(cells)),
        after=sum_by(cell, np.where(after, rings.score, 0.0), len(cells)),
        days_before=np.bincount(rings.user[~is_after], minlength=n_users),
        days_after=np.bincount(rings.user[is_after], minlength=n_users),
        counts_before=side_counts[0],
        counts_after=side_counts[1],
    )


def _shares(score: Floats, user: Ints, n_users: int) -> Floats:
    total = sum_by(user, score, n_users)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(score / total[user])
