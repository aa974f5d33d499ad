"""How a list leans from the long-term interest towards the short-term one, once interest may have shifted.

With p the probability that a new interest began, and the likeliest day on which it did: everything that was learnt
is turned once on the whole history and once on the events since that day, and

    score = (1 - g) · long + g · short,    g = short_term_weight · p · 2^(-age / half-life)

where both scores lie in 0..1 of the user's best and age counts days since the start. So nobody is cut off from an
old taste for good, a doubtful shift costs little, and the old share comes back as the new interest fills the history
anyway. Looking at the newest events always would cost the users who did not shift.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.window import Window
from shift_assets.settings.root import ReactionSettings

MINIMUM_WEIGHT = 0.02
"""Below it the second look is not worth its time."""


class Adaptation(NamedTuple):
    """Weight [user] of the short-term interest, 0..1, and the day [user], as a number, with which it began."""

    weight: Float32Array
    since: Int64Array

    @classmethod
    def of(
        cls, log_odds: npt.NDArray[np.floating], since: Int64Array, today: Int64Array, settings: ReactionSettings
    ) -> Adaptation:
        """The reaction to `log_odds[user]` of a shift that began on day `since[user]`."""
        probability = expit(log_odds - settings.doubt)
        age = np.maximum(today - since, 0)
        weight = settings.short_term_weight * probability * np.exp2(-age / settings.half_life_days)
        return cls(np.where(weight >= MINIMUM_WEIGHT, weight, 0).astype(np.float32), since)

    @classmethod
    def to_newest(cls, window: Window, events: int) -> Adaptation:
        """Nothing but the short term: from the day of each user's newest but `events` event on, whatever happened."""
        sequences = window.sequences
        active = sequences.lengths > 0
        since = window.today.copy()
        first = np.maximum(sequences.offsets[1:] - events, sequences.offsets[:-1])
        since[active] = sequences.days[first[active]]
        return cls(active.astype(np.float32), since)

    def or_stronger(self, other: Adaptation) -> Adaptation:
        """Of this and the `other` reaction to the same users, for each user the one of larger weight."""
        mine = self.weight >= other.weight
        return Adaptation(np.where(mine, self.weight, other.weight), np.where(mine, self.since, other.since))

    def only(self, users: npt.NDArray[np.bool_]) -> Adaptation:
        """Of the other users, none."""
        return Adaptation(np.where(users, self.weight, 0).astype(np.float32), self.since)
