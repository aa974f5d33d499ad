"""How simulated users respond to lists, so that policies can be run where the truth is known.

A user looks at a place with a chance that falls with its rank (the position-based model: Craswell et al. 2008), and
clicks what is looked at by its appeal: the user's true share of the category on that day, times the popularity of
the item within it, worn off by how often the item was shown to the user lately. Some clicks become purchases.
A list's places are independent, given the day and what was shown before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shift_assets.simulate.population import Block
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.traffic import true_interests
from shift_assets.simulate.world import World, generator

POSITION_EXPONENT = 0.7
"""Place r is looked at with chance r^-0.7: half at the third, a fifth at the tenth place."""
CLICK_AT_BEST = 0.6
"""Chance of a click on the best item of a category that is all of a user's interest, looked at and never shown."""
POPULARITY_EXPONENT = 0.3
"""An item with a hundredth of the best one's popularity is clicked a quarter as often."""
FATIGUE = 0.1
"""Each recent showing of an item takes so much off the logarithm of its appeal."""
FATIGUE_DECAY = 0.8
"""Part of the showings that a user still remembers a day later."""
PURCHASE_OF_CLICK = 0.15


@dataclass(frozen=True)
class Responses:
    """The users of one block as readers of lists; days are indices from the first day."""

    simulation: Simulation
    world: World
    block: Block

    @cached_property
    def appeal(self) -> NDArray[np.float64]:
        """Popularity [item] within its category, 1 for the most popular one, as far as clicks go by it."""
        weight = np.diff(self.world.item_mass, prepend=0.0)
        first = np.searchsorted(self.world.item_category, np.arange(self.simulation.categories))
        best = np.maximum.reduceat(weight, first)
        relative: NDArray[np.float64] = (weight / best[self.world.item_category]) ** POPULARITY_EXPONENT
        return relative

    def interests(self, day: int) -> NDArray[np.float64]:
        """True shares [user, category] on a day; they sum to 1."""
        weights = true_interests(self.simulation, self.world, self.block, np.arange(len(self.block.kind)), day).astype(
            np.float64
        )
        shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def click_probabilities(
        self, interests: NDArray[np.float64], items: NDArray[np.int64], shown: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Chance [user, place] of a click on `items[user, place]` (-1: no item), place 0 being rank 1.

        `interests[user, category]` are those of the day and the same users; `shown[user, place]` how often the item
        was shown to the user, faded by `FATIGUE_DECAY` a day.
        """
        category = self.world.item_category[items]
        attraction = CLICK_AT_BEST * np.take_along_axis(interests, category.astype(np.int64), axis=1)
        probability: NDArray[np.float64] = (
            examination_probability(items.shape[1]) * attraction * self.appeal[items] * np.exp(-FATIGUE * shown)
        )
        return np.where(items >= 0, probability, 0.0)

    def respond(
        self, probabilities: NDArray[np.float64], day: int, repetition: int = 0
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Clicks and purchases [user, place] of a day; `repetition` numbers further draws of the same day."""
        random = generator(self.simulation, 4, day, repetition)
        clicked = random.random(probabilities.shape) < probabilities
        return clicked, clicked & (random.random(probabilities.shape) < PURCHASE_OF_CLICK)


def examination_probability(ranks: int) -> NDArray[np.float64]:
    """Chance [place] that a user looks at a place."""
    probability: NDArray[np.float64] = np.arange(1.0, ranks + 1) ** -POSITION_EXPONENT
    return probability
