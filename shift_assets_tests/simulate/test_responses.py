"""Simulated users click by their true interests, examine lower ranks less, and lose interest in repeated items."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.simulate.population import KINDS, build_block
from shift_assets.simulate.responses import PURCHASE_OF_CLICK, Responses, examination_probability
from shift_assets.simulate.simulation import PlantedShares, Simulation
from shift_assets.simulate.world import build_world

SIMULATION = Simulation(
    users=600,
    items=120,
    days=60,
    categories=6,
    promotions=0,
    season_strength=0.0,
    trend_strength=0.0,
    organic_drift=0.0,
    planted=PlantedShares(**(dict.fromkeys(PlantedShares.model_fields, 0.0) | {"abrupt": 0.3})),
    seed=3,
)


@pytest.fixture(scope="module")
def responses() -> Responses:
    world = build_world(SIMULATION)
    return Responses(SIMULATION, world, build_block(SIMULATION, world, 0))


def best_items(responses: Responses) -> np.ndarray:
    """The most popular item of every category."""
    category = responses.world.item_category
    return np.array([np.flatnonzero(category == k)[responses.appeal[category == k].argmax()] for k in range(6)])


def test_clicks_follow_the_interest_of_the_day(responses: Responses) -> None:
    """A user who shifts clicks the old category before and the new one after; the others click on as before."""
    before, after = responses.interests(0), responses.interests(59)
    assert before.sum(axis=1) == pytest.approx(1)
    shifted = responses.block.kind == KINDS.index("abrupt")
    assert np.abs(after - before)[shifted].sum(axis=1).min() > 0.5
    assert after[~shifted] == pytest.approx(before[~shifted])
    items = np.tile(best_items(responses), (600, 1))
    probabilities = responses.click_probabilities(before, items, np.zeros(items.shape)) / examination_probability(6)
    assert probabilities.argmax(axis=1).tolist() == before.argmax(axis=1).tolist()


def test_lower_ranks_are_clicked_less(responses: Responses) -> None:
    items = np.tile(best_items(responses)[[2]], (600, 8))
    probabilities = responses.click_probabilities(responses.interests(5), items, np.zeros(items.shape))
    assert (np.diff(probabilities, axis=1) < 0).all()
    assert probabilities[:, 7] / probabilities[:, 0] == pytest.approx(examination_probability(8)[7])


def test_repeated_exposure_reduces_clicks(responses: Responses) -> None:
    items = np.tile(best_items(responses), (600, 1))
    fresh, worn = (
        responses.click_probabilities(responses.interests(5), items, np.full(items.shape, n)) for n in (0.0, 3.0)
    )
    assert worn / fresh == pytest.approx(np.exp(-0.3))


def test_clicks_are_as_frequent_as_their_probability_and_empty_positions_get_none(responses: Responses) -> None:
    items = np.tile(best_items(responses), (600, 1))
    items[:, 5] = -1
    probabilities = responses.click_probabilities(responses.interests(5), items, np.zeros(items.shape))
    drawn = [responses.respond(probabilities, 5, repetition) for repetition in range(40)]
    clicked, bought = (np.mean([one[side] for one in drawn], axis=0) for side in (0, 1))
    assert clicked.mean(axis=0) == pytest.approx(probabilities.mean(axis=0), abs=0.006)
    assert bought.sum() == pytest.approx(PURCHASE_OF_CLICK * clicked.sum(), rel=0.1)
    assert clicked[:, 5].sum() == 0
    assert np.array_equal(responses.respond(probabilities, 5)[0], responses.respond(probabilities, 5)[0])
    assert not np.array_equal(responses.respond(probabilities, 5)[0], responses.respond(probabilities, 6)[0])
