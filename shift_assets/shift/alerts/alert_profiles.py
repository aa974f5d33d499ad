"""Profiles of users before and since the onset of their alert, and the categories that rose and fell between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from shift_assets.arrays import BoolArray, CategoryCodes, Float64Array, Int64Array, offsets, sum_by
from shift_assets.contracts.columns import CATEGORY_CHANGES
from shift_assets.interest.user_days import UserDays
from shift_assets.interest.windows import Contrast, contrast, recent_entries
from shift_assets.settings.root import StateSettings

MAXIMUM_LISTED = 5
"""Maximum number of rising, and of falling, categories of an alert."""
MINIMUM_CHANGE = 0.01
"""A category whose share changed less is neither rising nor falling: shares are shown in whole percents."""
CONTRIBUTION_FLOOR = 0.01
"""Added to both shares of a category, so that the contribution of a new category is finite."""


@dataclass(frozen=True, slots=True)
class AlertProfiles:
    """Old and new profiles of users with an alert: means of the daily score shares before and since its onset."""

    sides: Contrast  # its users are those with an alert; every day weighs one
    codes: CategoryCodes
    before: Float64Array  # [cell of `sides`], share; 0 where there is no score before
    after: Float64Array  # [cell of `sides`], share; 0 where there is no score since
    magnitude: Float64Array  # [user], total variation distance of both, 0..1

    @classmethod
    def since(
        cls, user_days: UserDays, onset_day: Int64[Int64Array, " user"], codes: CategoryCodes, settings: StateSettings
    ) -> AlertProfiles:
        """Return the profiles of users whose alerts have these onsets.

        Args:
            user_days: recent days of the users.
            onset_day: onset of every user's alert, days since 1970-01-01.
            codes: categories of `user_days`.
            settings: windows, for users whose recent days do not reach back to before the onset.
        """
        by_day = replace(user_days, score=user_days.share)
        sides = contrast(by_day, since_onset(by_day, onset_day, settings), len(codes))
        before, after = np.nan_to_num(sides.share_before()), np.nan_to_num(sides.share_after())
        distance = sum_by(sides.user, np.abs(after - before), sides.n_users) / 2
        return cls(sides, codes, before, after, np.clip(distance, 0.0, 1.0))

    def cells_of(self, user: int) -> slice:
        """The cells of one user."""
        first, last = np.searchsorted(self.sides.user, [user, user + 1])
        return slice(int(first), int(last))

    def move_of(self, user: int) -> Float64[Float64Array, " category"]:
        """Change of share of one user."""
        cells = self.cells_of(user)
        move = np.zeros(len(self.codes))
        move[self.sides.category[cells]] = self.after[cells] - self.before[cells]
        return move

    def changes(self, sign: int) -> pa.ListArray:
        """The categories of every user that changed most in the direction of `sign`, largest change first, [user]."""
        move = sign * (self.after - self.before)
        cells = np.flatnonzero(move > MINIMUM_CHANGE)
        cells = cells[np.lexsort((self.sides.category[cells], -move[cells], self.sides.user[cells]))]
        user = self.sides.user[cells]
        rank = np.arange(len(cells)) - np.searchsorted(user, user)
        cells = cells[rank < MAXIMUM_LISTED]
        before, after = np.minimum(self.before[cells], 1.0), np.minimum(self.after[cells], 1.0)
        changes = pa.StructArray.from_arrays(
            [
                self.codes.decode(self.sides.category[cells]),
                pa.array(before),
                pa.array(after),
                pa.array(contribution(before, after)),
            ],
            fields=list(CATEGORY_CHANGES.value_type),
        )
        listed = np.bincount(self.sides.user[cells], minlength=self.sides.n_users)
        return pa.ListArray.from_arrays(pa.array(offsets(listed), pa.int32()), changes, type=CATEGORY_CHANGES)


def contribution(
    before: Float64[Float64Array, " change"], after: Float64[Float64Array, " change"]
) -> Float64[Float64Array, " change"]:
    """Return the contribution of changed shares to the evidence for the new profile, nats per day since the onset."""
    new = after + CONTRIBUTION_FLOOR
    return np.asarray(new * np.log(new / (before + CONTRIBUTION_FLOOR)))


def since_onset(user_days: UserDays, onset_day: Int64[Int64Array, " user"], settings: StateSettings) -> BoolArray:
    """Whether an entry belongs to the new profile, [entry].

    Where no entry lies before the onset, or none since, the recent window is the new profile. onset_day: onset of
    every user, days since 1970-01-01.
    """
    after = user_days.day >= np.repeat(onset_day, user_days.n_days)
    n_after = np.bincount(user_days.user[after], minlength=user_days.n_users)
    usable = (n_after > 0) & (n_after < user_days.n_days)
    return np.where(np.repeat(usable, user_days.n_days), after, recent_entries(user_days, settings))
