"""Off-policy estimates against a known truth: simulated users, randomly assigned arms, randomly explored ranks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.experiments.assignment import assign
from shift_assets.experiments.exploration import best_by_category, explore
from shift_assets.outcomes.estimates import Estimate, resamples
from shift_assets.outcomes.off_policy import (
    LoggedFeedback,
    OffPolicyEstimates,
    doubly_robust,
    effective_users,
    importance_weights,
    mixture,
    off_policy,
)
from shift_assets.simulate.population import build_block
from shift_assets.simulate.responses import Responses
from shift_assets.simulate.simulation import PlantedShares, Simulation
from shift_assets.simulate.world import build_world

USERS, SLATE_LENGTH, DAY = 1_500, 6, 55
SHARES = {"exploring": 0.3, "shift_adjusted": 0.3, "unadjusted": 0.4}
TARGETS = ("shift_adjusted", "unadjusted")


def logged(**more: np.ndarray) -> LoggedFeedback:
    random = np.random.default_rng(0)
    one = np.ones((5, 3))
    made = {
        "rewards": (random.random((5, 3)) < 0.5).astype(float),
        "behaviour": one,
        "target": one,
        "shown": np.ones((5, 3), dtype=bool),
        "expected": random.random((5, 3)),
    }
    made["expected_of_target"] = made["expected"]
    return LoggedFeedback(**(made | more))


def estimates(found: OffPolicyEstimates) -> tuple[Estimate, Estimate, Estimate]:
    assert found.ips is not None
    assert found.snips is not None
    assert found.dr is not None
    return found.ips, found.snips, found.dr


def test_with_certainty_every_estimate_is_the_plain_mean() -> None:
    """A policy evaluated on its own slates, without exploration, has the observed reward, for any model."""
    own = logged()
    for found in estimates(off_policy(own, 1, resamples(5, 50, 0))):
        assert found.value == pytest.approx(own.rewards.mean())


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, float("nan")])
def test_impossible_propensities_are_refused(propensity: float) -> None:
    """What was shown had a positive probability of being shown, and none above 1; empty ranks have none."""
    with pytest.raises(ValueError, match="propensity"):
        off_policy(logged(behaviour=np.full((5, 3), propensity)), 1, resamples(5, 50, 0))
    nowhere = np.zeros((5, 3), dtype=bool)
    assert importance_weights(logged(behaviour=np.full((5, 3), propensity), shown=nowhere)).sum() == 0


def test_too_few_effective_users_are_refused_with_a_note() -> None:
    found = off_policy(logged(), 6, resamples(5, 50, 0))
    assert found[:3] == (None, None, None)
    assert found.note == "in effect 5 users, fewer than the 6 that an estimate needs"
    assert found.effective_users == pytest.approx(5)


def test_a_policy_without_support_has_no_estimate() -> None:
    """A policy with support at half of the ranks only, because no arm would show the other items, gets no estimate."""
    target = np.tile([[1.0, 0.0]], (200, 1))
    log = LoggedFeedback(np.ones((200, 2)), np.ones((200, 2)), target, np.ones((200, 2), dtype=bool), target, target)
    found = off_policy(log, 100, resamples(200, 50, 0))
    assert found[:3] == (None, None, None)
    assert found.note == "the lists could show 50% of what the policy would have shown; the rest is not known"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.floats(0.1, 10))
def test_the_effective_number_lies_between_one_and_all(weights: list[float], scale: float) -> None:
    """It does not depend on the scale of the weights; equal ones count in full, one alone as one."""
    own = np.array(weights)[:, None]
    found = effective_users(own)
    if own.sum() > 1e-6:
        assert 1 - 1e-9 <= found <= len(weights) + 1e-9
        assert effective_users(scale * own) == pytest.approx(found)
    assert effective_users(np.full((7, 2), scale)) == pytest.approx(7)
    assert effective_users(np.zeros((7, 2))) == 0


def test_a_mixture_weighs_each_arm_by_its_share() -> None:
    shown_by = np.array([[[1.0, 0.0], [1.0, 1.0], [0.2, 0.5]]])
    assert mixture(np.array([[0.5, 0.3, 0.2]]), shown_by) == pytest.approx(np.array([[0.84, 0.4]]))


class World(NamedTuple):
    """One day of users: the slate of each target, and all arms' propensities of any item."""

    click_probabilities: np.ndarray  # [user, item], of a click at the first rank
    slates: dict[str, np.ndarray]  # [user, rank]
    candidates: np.ndarray
    gains: np.ndarray
    values: np.ndarray
    examination: np.ndarray  # [rank]
    model: np.ndarray  # [user, item], predictions of a model that has half learned the shifts
    truth: dict[str, float]


@pytest.fixture(scope="module")
def world() -> World:
    simulation = Simulation(
        users=USERS, items=80, days=60, categories=8, seed=5, promotions=0, planted=PlantedShares(abrupt=0.5)
    )
    shop = build_world(simulation)
    readers = Responses(simulation, shop, build_block(simulation, shop, 0))
    now, before = readers.interests(DAY), readers.interests(5)
    everything = np.tile(np.arange(80), (USERS, 1))
    examination = np.arange(1.0, SLATE_LENGTH + 1) ** -0.7
    click_probabilities, former = (
        np.take_along_axis(mix, shop.item_category[everything].astype(np.int64), axis=1) * readers.appeal
        for mix in (now, before)
    )
    mixed = 0.5 * click_probabilities + 0.5 * former
    slates = {
        "unadjusted": np.argsort(-former, axis=1)[:, :SLATE_LENGTH],
        "shift_adjusted": np.argsort(-mixed, axis=1)[:, :SLATE_LENGTH],
    }
    gains = np.maximum(now - before, 0)
    candidates = best_by_category(mixed, shop.item_category.astype(np.int64), slates["shift_adjusted"], gains > 0.02)
    truth = {
        name: float((np.take_along_axis(click_probabilities, own, axis=1) * examination).mean())
        for name, own in slates.items()
    }
    return World(click_probabilities, slates, candidates, gains, np.full((4, 8), 0.5), examination, mixed, truth)


def log_of(world: World, repetition: int, users: np.ndarray) -> dict[str, LoggedFeedback]:
    """What one drawn day of the readers `users` says about each target."""
    random = np.random.default_rng(repetition)
    assigned = assign([f"{user} {position}" for position, user in enumerate(users)], f"run {repetition}", SHARES)
    own = {name: slates[users] for name, slates in world.slates.items()}
    exploration = explore(
        own["shift_adjusted"], world.candidates[users], world.gains[users], world.values, random.random((len(users), 2))
    )
    made = {**own, "exploring": exploration.items}
    shown = np.stack([made[arm] for arm in assigned.arms], axis=1)[np.arange(len(users)), assigned.arm]
    # Odds that exploring shows an item are known where it did, and where the list's own item stood: at a drawn place
    # the item that was kept has them, too.
    kept = np.where(exploration.drawn, 0.2, 1.0)
    by_exploring = np.where(
        shown == own["shift_adjusted"], kept, np.where(shown == exploration.items, exploration.propensities, 0.0)
    )
    shown_by = np.stack(
        [by_exploring if arm == "exploring" else (shown == own[arm]).astype(float) for arm in assigned.arms], axis=1
    )
    behaviour = mixture(assigned.probabilities, shown_by)
    rows = users[:, None]
    clicked = random.random(shown.shape) < world.click_probabilities[rows, shown] * world.examination
    return {
        name: LoggedFeedback(
            rewards=clicked.astype(float),
            behaviour=behaviour,
            target=(shown == own[name]).astype(float),
            shown=np.ones(shown.shape, dtype=bool),
            expected=world.model[rows, shown] * world.examination,
            expected_of_target=world.model[rows, own[name]] * world.examination,
        )
        for name in TARGETS
    }


def test_intervals_cover_the_truth_and_the_doubly_robust_estimate_varies_least(world: World) -> None:
    """Over 80 drawn logs of 700 readers, 95 % intervals hold the truth in 90 % or more, for both targets."""
    repetitions, n = 80, 700
    covered = {(name, at): 0 for name in TARGETS for at in range(3)}
    values: dict[str, list[list[float]]] = {name: [] for name in TARGETS}
    for repetition in range(repetitions):
        users = np.random.default_rng([repetition, 1]).integers(0, USERS, n)
        for name, log in log_of(world, repetition, users).items():
            found = estimates(off_policy(log, 100, resamples(n, 200, repetition)))
            values[name].append([one.value for one in found])
            for at, one in enumerate(found):
                covered[name, at] += one.low <= world.truth[name] <= one.high
    assert min(covered.values()) / repetitions >= 0.9
    for name in TARGETS:
        ips, _, dr = np.std(values[name], axis=0)
        assert dr < ips
        assert np.mean(values[name], axis=0) == pytest.approx(world.truth[name], rel=0.03)
    assert world.truth["shift_adjusted"] > 1.1 * world.truth["unadjusted"]


def test_a_wrong_model_leaves_the_doubly_robust_estimate_unbiased(world: World) -> None:
    """A model that predicts 0.9 clicks for everything increases the variance, not the bias."""
    users = np.tile(np.arange(USERS), 8)
    log = log_of(world, 7, users)["unadjusted"]
    wrong = log._replace(expected=np.full(log.rewards.shape, 0.9), expected_of_target=np.full(log.rewards.shape, 0.9))
    assert doubly_robust(wrong).sum() / log.rewards.size == pytest.approx(world.truth["unadjusted"], abs=0.01)
