"""Moves of the whole segment, and the part of a user's move that they explain."""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.interest.user_days import UserDays


class PlatformMix:
    """Category mixes of a segment by calendar day, from the recent days of all its users.

    A user's day counts as one, split by its score shares, so that heavy buyers do not dominate the segment.
    """

    def __init__(self, user_days: UserDays, n_categories: int) -> None:
        entry = user_days.score_entry
        self._user_days = user_days
        self._share = user_days.share
        self._first_day = int(user_days.day.min()) if len(user_days.day) else 0
        n_days = int(user_days.day.max()) - self._first_day + 1 if len(user_days.day) else 0
        day = user_days.day[entry] - self._first_day
        mass = np.bincount(
            day * n_categories + user_days.category, weights=self._share, minlength=n_days * n_categories
        ).reshape(n_days, n_categories)
        self._mass_until = np.vstack([np.zeros(n_categories), np.cumsum(mass, axis=0)])  # [day + 1, category]

    def others_move(self, user: int, onset_day: int) -> Float64Array | None:
        """Change of the other users' mix, [category], between the same days as the user's own.

        Before: from the user's first recent day to the day before `onset_day`; after: from there to the last recent
        day (days since 1970-01-01). None where nobody else was active on either side.
        """
        user_days = self._user_days
        first, last = int(user_days.start[user]), int(user_days.start[user + 1])
        onset_day = max(onset_day, int(user_days.day[first]))  # the recent days may not reach back to the onset
        onset_entry = first + int(np.searchsorted(user_days.day[first:last], onset_day))
        before = self._others(first, onset_entry, int(user_days.day[first]), onset_day)
        after = self._others(onset_entry, last, onset_day, int(user_days.day[last - 1]) + 1)
        if before.sum() < 1e-9 or after.sum() < 1e-9:
            return None
        return np.asarray(after / after.sum() - before / before.sum())

    def _others(self, first_entry: int, last_entry: int, first_day: int, last_day: int) -> Float64Array:
        """Mass [category] of all users on days `first_day <= d < last_day` without the user's own entries."""
        mass: Float64Array = (
            self._mass_until[last_day - self._first_day] - self._mass_until[first_day - self._first_day]
        )
        scores = slice(int(self._user_days.score_start[first_entry]), int(self._user_days.score_start[last_entry]))
        own = np.bincount(self._user_days.category[scores], weights=self._share[scores], minlength=len(mass))
        return np.asarray(np.clip(mass - own, 0.0, None))


def explained_share(move: Float64Array, others_move: Float64Array) -> float:
    """Part (0..1) of a user's change that a move of everybody by `others_move` explains.

    Per category the smaller of both changes where they have the same sign, summed, over the sum of the user's own
    changes. move, others_move: change of share, [category].

    >>> round(explained_share(np.array([0.4, -0.4]), np.array([0.1, -0.2])), 3)
    0.375
    """
    size = np.abs(move).sum()
    if size == 0:
        return 0.0
    common = np.where(move * others_move > 0, np.minimum(np.abs(move), np.abs(others_move)), 0.0)
    return float(min(common.sum() / size, 1.0))
