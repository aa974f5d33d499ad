"""Adaptation to a shift: the weight of a user's short-term interest, and the day on which it began.

With p the probability that a new interest began, and its likeliest first day, the fitted generators score the whole
history and the events since that day, and

    score = (1 - g) · long + g · short,    g = short_term_weight · p · 2^(-age / half-life)

where both scores lie in 0..1 of the user's best and age counts days since the first day. So no user loses an old
interest for good, a doubtful shift costs little, and the weight fades as the new interest fills the history anyway.
Always using the newest events only would cost the users who did not shift.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.special import expit

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.recommend.window import Window
from shift_assets.settings.root import AdaptationSettings

NEWEST_EVENTS = 10
"""Events that the policy `recency_reweighted` looks back to."""
MINIMUM_WEIGHT = 0.02
"""A smaller weight is set to 0: it would not be worth scoring the history a second time."""


class Adaptation(NamedTuple):
    """Weight [user] of the short-term interest, 0..1, and the day number [user] on which it began."""

    weight: Float32[Float32Array, " user"]
    since: Int64[Int64Array, " user"]

    @classmethod
    def of(
        cls,
        log_odds: Float64[Float64Array, " user"],
        since: Int64[Int64Array, " user"],
        today: Int64[Int64Array, " user"],
        settings: AdaptationSettings,
    ) -> Adaptation:
        """The adaptation to a shift.

        Args:
            log_odds: Log odds of a shift, [user].
            since: Day number on which it began, [user].
            today: Day number that ages count from, [user].
            settings: Weight, prior doubt and half-life.
        """
        probability = expit(log_odds - settings.doubt)
        age = np.maximum(today - since, 0)
        weight = settings.short_term_weight * probability * np.exp2(-age / settings.half_life_days)
        return cls(np.where(weight >= MINIMUM_WEIGHT, weight, 0).astype(np.float32), since)

    @classmethod
    def to_newest(cls, window: Window, events: int) -> Adaptation:
        """Full weight on the events since the day of each user's `events`-th newest event."""
        sequences = window.sequences
        active = sequences.lengths > 0
        since = window.today.copy()
        first = np.maximum(sequences.offsets[1:] - events, sequences.offsets[:-1])
        since[active] = sequences.days[first[active]]
        return cls(active.astype(np.float32), since)

    def or_stronger(self, other: Adaptation) -> Adaptation:
        """The adaptation of larger weight, for each user."""
        mine = self.weight >= other.weight
        return Adaptation(np.where(mine, self.weight, other.weight), np.where(mine, self.since, other.since))

    def only(self, users: Bool[BoolArray, " user"]) -> Adaptation:
        """The adaptation with weight 0 for users that are not marked in `users[user]`."""
        return Adaptation(np.where(users, self.weight, 0).astype(np.float32), self.since)
