"""How far users of a shop move anyway: what the size of an alert is compared with.

Every user's recent days are split at pseudo-onsets, the last k active days against those before, and the magnitude
between both sides is measured as for an alert. Few days on one side differ more by chance alone than many, so an alert
is compared with the moves over about as many days as lie since its own onset.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, sum_by
from shift_assets.interest.user_days import UserDays
from shift_assets.interest.windows import contrast

PSEUDO_ONSETS = (1, 2, 3, 5, 8, 12)
"""Active days since a pseudo-onset; an alert is compared at the largest number that its own days reach."""
MINIMUM_DAYS_BEFORE = 4
"""Active days before a pseudo-onset, as before an onset (`EvidenceParameters.minimum_days_before`)."""
MINIMUM_MOVES = 30
"""Fewer moves say nothing of their distribution."""
MAXIMUM_USERS = 2_000
"""Users measured, the first by pseudonym, which is at random; the error of a quantile of so many is below .01."""


class OwnDrift:
    """Magnitudes of the moves of a segment's users at pseudo-onsets, measured when first asked for."""

    def __init__(self, user_days: UserDays, codes: CategoryCodes) -> None:
        """user_days: recent days of all users of a segment, sorted by user; codes: their categories."""
        self._user_days = user_days
        self._n_categories = len(codes)
        self._moves: dict[int, Float64Array] = {}

    def quantile_of(
        self, magnitude: Float64[Float64Array, " alert"], days_after: Int64[Int64Array, " alert"]
    ) -> Float64[Float64Array, " alert"]:
        """Share of the moves over as many days that are smaller; nan where there are too few.

        Of moves as large half count. With fewer than `MINIMUM_MOVES` moves over as many days, those over all of
        `PSEUDO_ONSETS` count together.
        """
        place = np.searchsorted(PSEUDO_ONSETS, days_after, side="right") - 1
        since = np.array(PSEUDO_ONSETS)[np.maximum(place, 0)]
        found = np.full(len(magnitude), np.nan)
        for days in np.unique(since):
            moves = self._comparable(int(days))
            if len(moves) >= MINIMUM_MOVES:
                chosen = since == days
                smaller, up_to = (np.searchsorted(moves, magnitude[chosen], side=side) for side in ("left", "right"))
                found[chosen] = (smaller + up_to) / (2 * len(moves))
        return found

    def _comparable(self, days: int) -> Float64Array:
        moves = self._moves_over(days)
        if len(moves) >= MINIMUM_MOVES:
            return moves
        return np.sort(np.concatenate([self._moves_over(each) for each in PSEUDO_ONSETS]))

    def _moves_over(self, days: int) -> Float64Array:
        """Magnitudes of the users' last `days` active days against those before, sorted."""
        if days not in self._moves:
            users = np.flatnonzero(self._user_days.n_days >= days + MINIMUM_DAYS_BEFORE)[:MAXIMUM_USERS]
            chosen = self._user_days.take_users(users)
            by_day = replace(chosen, score=chosen.share)
            sides = contrast(by_day, by_day.age < days, self._n_categories)
            move = np.nan_to_num(sides.share_after()) - np.nan_to_num(sides.share_before())
            self._moves[days] = np.sort(sum_by(sides.user, np.abs(move), sides.n_users) / 2)
        return self._moves[days]
