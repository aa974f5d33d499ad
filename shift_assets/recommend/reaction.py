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

from shift_assets.models.sequences import Integers
from shift_assets.recommend.blend import normalised
from shift_assets.recommend.source import Fitted, Scorer
from shift_assets.recommend.window import Floats, Window
from shift_assets.settings import ReactionSettings

LEAST_WEIGHT = 0.02
"""Below it the second look is not worth its time."""


class Reaction(NamedTuple):
    """Weight [user] of the short-term interest, 0..1, and the day [user], as a number, with which it began."""

    weight: Floats
    since: Integers

    @classmethod
    def of(
        cls, log_odds: npt.NDArray[np.floating], since: Integers, today: Integers, settings: ReactionSettings
    ) -> Reaction:
        """The reaction to `log_odds[user]` of a shift that began on day `since[user]`."""
        probability = expit(log_odds - settings.doubt)
        age = np.maximum(today - since, 0)
        weight = settings.short_term_weight * probability * np.exp2(-age / settings.half_life_days)
        return cls(np.where(weight >= LEAST_WEIGHT, weight, 0).astype(np.float32), since)


def leaning(scorer_on: Fitted, window: Window, reaction: Reaction) -> Scorer:
    """The scores of `scorer_on`, each 0..1 of the user's best, leaning as the `reaction` of the window's users says."""
    long = scorer_on(window)
    moved = reaction.weight > 0
    short = scorer_on(window.since(np.where(moved, reaction.since, window.today + 1)))

    def scores(users: Integers) -> Floats:
        mixed = normalised(long(users))
        leaning_users = np.flatnonzero(moved[users])
        if len(leaning_users):
            weight = reaction.weight[users[leaning_users], None]
            recent = normalised(short(users[leaning_users]))
            mixed[leaning_users] = (1 - weight) * mixed[leaning_users] + weight * recent
        return mixed

    return scores
