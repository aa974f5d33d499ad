"""Simulated responses to recommendations, to run policies where the true click probabilities are known.

A user examines a rank with a probability that falls with the rank (the position-based model, Craswell et al. 2008), and
clicks an examined item by its appeal: the user's true share of the category on that day, times the popularity of the
item within it, reduced by how often the item was shown to the user recently. Some clicks become purchases. Ranks of a
slate are independent, given the day and what was shown before. Called by benchmarks only; kept for the verification of
uplift estimates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.simulate.population import Block
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.traffic import true_interests
from shift_assets.simulate.world import World, generator

POSITION_EXPONENT = 0.7
"""Rank r is examined with probability r^-0.7: about 0.5 for the third, 0.2 for the tenth rank."""
CLICK_AT_BEST = 0.6
"""Click probability of the most popular item of a user's only category, examined and not shown before."""
POPULARITY_EXPONENT = 0.3
"""An item with 1 % of the popularity of the best one is clicked a quarter as often."""
FATIGUE = 0.1
"""Reduction of the logarithm of an item's appeal per recent impression."""
FATIGUE_DECAY = 0.8
"""Weight of an impression one day later."""
PURCHASE_OF_CLICK = 0.15


@dataclass(frozen=True)
class Responses:
    """Responses of the users of one block; days are indices from the first day."""

    simulation: Simulation
    world: World
    block: Block

    @cached_property
    def appeal(self) -> Float64Array:
        """Effect of an item's popularity within its category on clicks, [item]; 1 for the most popular one."""
        weight = np.diff(self.world.item_mass, prepend=0.0)
        first = np.searchsorted(self.world.item_category, np.arange(self.simulation.categories))
        best = np.maximum.reduceat(weight, first)
        relative: Float64Array = (weight / best[self.world.item_category]) ** POPULARITY_EXPONENT
        return relative

    def interests(self, day: int) -> Float64Array:
        """True shares [user, category] on a day; they sum to 1."""
        weights = true_interests(self.simulation, self.world, self.block, np.arange(len(self.block.kind)), day).astype(
            np.float64
        )
        shares: Float64Array = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def click_probabilities(self, interests: Float64Array, items: Int64Array, shown: Float64Array) -> Float64Array:
        """Click probabilities [user, rank].

        Args:
            interests: True shares [user, category] of the day.
            items: Shown items [user, rank], -1 for none; index 0 is rank 1.
            shown: Earlier impressions [user, rank] of the item, with a weight that decays by FATIGUE_DECAY a day.
        """
        category = self.world.item_category[items]
        attraction = CLICK_AT_BEST * np.take_along_axis(interests, category.astype(np.int64), axis=1)
        probability: Float64Array = (
            examination_probability(items.shape[1]) * attraction * self.appeal[items] * np.exp(-FATIGUE * shown)
        )
        return np.where(items >= 0, probability, 0.0)

    def respond(self, probabilities: Float64Array, day: int, repetition: int = 0) -> tuple[BoolArray, BoolArray]:
        """Draw clicks and purchases [user, rank] of a day; `repetition` numbers further draws of the same day."""
        random = generator(self.simulation, 4, day, repetition)
        clicked = random.random(probabilities.shape) < probabilities
        return clicked, clicked & (random.random(probabilities.shape) < PURCHASE_OF_CLICK)


def examination_probability(ranks: int) -> Float64Array:
    """Probability [rank] that a user examines a rank."""
    probability: Float64Array = np.arange(1.0, ranks + 1) ** -POSITION_EXPONENT
    return probability
