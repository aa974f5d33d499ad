"""Exploration: logged propensities equal the frequencies, only slots are drawn, a false alert loses its effect."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.shift import SEGMENT_SHIFTS, SHIFT_ALERTS
from shift_assets.experiments.exploration import (
    KEEP_PROBABILITY,
    best_by_category,
    emerging,
    explore,
    gain_matrix,
    trust,
    value_draws,
)
from shift_assets.settings.root import ExperimentSettings

DAY = date(2026, 3, 1)
CATEGORIES = ("garden", "kitchen", "mugs", "toys")


def random_slates(seed: int, users: int, categories: int, positions: int) -> dict[str, np.ndarray]:
    """Random slates, candidates and gains; candidates are numbered above the items of the slates."""
    random = np.random.default_rng(seed)
    slates = np.arange(users * positions).reshape(users, positions)
    slates[np.arange(positions) >= random.integers(0, positions + 1, users)[:, None]] = -1
    candidates = 10_000 + np.arange(users * categories).reshape(users, categories)
    candidates[random.random(candidates.shape) < 0.3] = -1
    gains = np.where(random.random(candidates.shape) < 0.6, random.random(candidates.shape), 0.0)
    return {"slates": slates, "candidates": candidates, "gains": gains, "values": random.random((32, categories))}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 3), st.integers(1, 9))
def test_only_the_last_positions_are_drawn_and_no_item_appears_twice(
    seed: int, positions: int, slots: int, categories: int
) -> None:
    made = random_slates(seed, 30, categories, positions)
    found = explore(**made, random_draws=np.random.default_rng(seed).random((30, slots)))
    lengths = (made["slates"] >= 0).sum(axis=1)
    last = (np.arange(positions) >= (lengths - slots)[:, None]) & (np.arange(positions) < lengths[:, None])
    assert not found.drawn[~last].any()
    assert ((found.items == made["slates"]) | found.drawn).all()
    assert ((found.items >= 0) == (made["slates"] >= 0)).all()
    assert ((found.propensities > 0) & (found.propensities <= 1)).all()
    assert (found.propensities[~found.drawn] == 1).all()
    assert (found.propensities[found.drawn] < 1).all()
    for own, original, offered, gain in zip(
        found.items, made["slates"], made["candidates"], made["gains"], strict=True
    ):
        items = own[own >= 0]
        assert len(set(items.tolist())) == len(items)
        assert set(items.tolist()) <= set(original.tolist()) | set(offered[gain > 0].tolist())


def test_the_logged_propensities_equal_the_frequencies() -> None:
    """Over 40,000 draws, the frequency of every item at its rank is its propensity."""
    many = 40_000
    made = {
        "slates": np.tile([[1, 2, 3, 4]], (many, 1)),
        "candidates": np.tile([[10, 11, 12, 13, -1]], (many, 1)),
        "gains": np.tile([[1.0, 0.8, 0.3, 0.9, 1.0]], (many, 1)),
        "values": np.random.default_rng(0).beta(2, 5, (64, 5)),
    }
    found = explore(**made, random_draws=np.random.default_rng(1).random((many, 2)))
    for position in (2, 3):
        items, counts = np.unique(found.items[:, position], return_counts=True)
        probabilities = [found.propensities[found.items[:, position] == item, position][0] for item in items]
        assert sum(probabilities) == pytest.approx(1)
        assert counts / many == pytest.approx(probabilities, abs=0.01)
    assert (found.items[:, 2] == 3).mean() == pytest.approx(KEEP_PROBABILITY, abs=0.01)


def test_nothing_emerging_nothing_drawn() -> None:
    made = random_slates(1, 20, 4, 5) | {"gains": np.zeros((20, 4))}
    found = explore(**made, random_draws=np.full((20, 2), 0.5))
    assert np.array_equal(found.items, made["slates"])
    assert not found.drawn.any()


def test_the_candidate_of_a_category_is_its_best_item_that_is_not_listed() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 9.0, 0.0], [1.0, 2.0, 3.0, 4.0, 0.0]])
    found = best_by_category(
        scores, np.array([0, 0, 1, 1, 2]), np.array([[0, 3], [1, -1]]), np.array([[1, 1, 1], [1, 0, 1]], dtype=bool)
    )
    assert found.tolist() == [[1, 2, -1], [0, -1, -1]]
    assert scores[0, 0] == 5.0


def alerts(**more: object) -> pa.Table:
    """One alert of user `a`: from mugs to garden."""
    row = {
        "day": DAY,
        "segment": "uk",
        "alert_id": "0" * 32,
        "user_id": "a",
        "status": "continued",
        "kind": "switch",
        "severity": "high",
        "magnitude": 0.7,
        "confidence": 0.8,
        "onset_day": DAY,
        "rising": [{"category": "garden", "share_before": 0.1, "share_after": 0.8, "contribution": 1.0}],
        "falling": [{"category": "mugs", "share_before": 0.8, "share_after": 0.1, "contribution": 1.0}],
        "explanation": "because",
        "detector": "e_value",
    }
    return pa.Table.from_pylist([row | more], schema=SHIFT_ALERTS.schema)


def since(**shares: float) -> np.ndarray:
    return np.array([[shares.get(name, 0.0) for name in CATEGORIES]])


def test_trust_falls_after_a_false_alert_and_grows_after_a_true_one() -> None:
    """At first the confidence of the alert; days of the old interest lower it, days of the new one raise it."""
    posterior = [
        trust(alerts(), ["a"], CATEGORIES, days)[0]
        for days in (since(mugs=3), since(mugs=1), since(), since(garden=1), since(garden=3))
    ]
    assert posterior == sorted(posterior)
    assert posterior[2] == pytest.approx(0.8)
    assert posterior[0] < 0.1
    assert posterior[-1] > 0.99
    nothing = SEGMENT_SHIFTS.empty()
    own = gain_matrix([{"garden": 1.0}], CATEGORIES)
    explored = [emerging(own, np.array([value]), nothing, CATEGORIES)[0, 0] for value in posterior]
    assert explored[:2] == [0.0, pytest.approx(0.0)]
    assert explored[2:] == pytest.approx(posterior[2:])


def test_other_categories_change_the_posterior_little() -> None:
    """Categories that the alert does not list have the remaining share, the same before and after."""
    assert trust(alerts(), ["a"], CATEGORIES, since(toys=4))[0] == pytest.approx(0.8)


@pytest.mark.parametrize("table", [alerts(status="closed"), alerts(user_id="b"), SHIFT_ALERTS.empty()])
def test_without_an_open_alert_there_is_no_trust(table: pa.Table) -> None:
    assert trust(table, ["a"], CATEGORIES, since(garden=9)).tolist() == [0.0]


def test_what_rises_in_the_segment_is_emerging_for_everybody() -> None:
    """It counts half as much as a trusted alert, and only if it rises."""
    rows = [
        {
            "day": DAY,
            "segment": "uk",
            "category": name,
            "share_before": 0.1,
            "share_after": after,
            "direction": way,
            "n_users": 9,
            "rising_pairs": [],
        }
        for name, after, way in (("kitchen", 0.3, "rising"), ("mugs", 0.2, "rising"), ("toys", 0.4, "steady"))
    ]
    shifts = pa.Table.from_pylist(rows, schema=SEGMENT_SHIFTS.schema)
    found = emerging(gain_matrix([{"garden": 1.0}, {}], CATEGORIES), np.array([0.9, 0.0]), shifts, CATEGORIES)
    assert found == pytest.approx(np.array([[0.9, 0.5, 0.25, 0.0], [0.0, 0.5, 0.25, 0.0]]))


def test_exploration_learns_from_ranks_before_the_day_only() -> None:
    """Draws follow the success rates of garden and toys; outcomes of the day and later change nothing."""

    def outcomes(ago: int, hits: int) -> dict[str, object]:
        return {
            "day": DAY - timedelta(days=ago),
            "segment": "uk",
            "policy": "exploring",
            "horizon_days": 7,
            "k": 20,
            "users": 700,
            "by_shift_kind": [],
            "explored": [
                {"category": "garden", "shown": 700, "met": hits},
                {"category": "toys", "shown": 700, "met": 700 - hits},
            ],
        }

    def draws(rows: list[dict[str, object]]) -> np.ndarray:
        table = pa.Table.from_pylist(rows, schema=RECOMMENDATION_OUTCOMES.schema)
        return value_draws(table, DAY, CATEGORIES, ExperimentSettings(), seed=1)

    past = draws([outcomes(3, 560)])
    assert past.mean(axis=0)[0] == pytest.approx(0.8, abs=0.03)
    assert past.mean(axis=0)[3] == pytest.approx(0.2, abs=0.03)
    assert past.std(axis=0)[1] > 3 * past.std(axis=0)[0]
    assert np.array_equal(past, draws([outcomes(0, 0), outcomes(3, 560), outcomes(-2, 0)]))
