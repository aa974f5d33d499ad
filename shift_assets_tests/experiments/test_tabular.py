"""Q-learning and SARSA converge to the values of their definitions, on processes small enough to solve."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.experiments.tabular import ACTIONS, AGE_BINS, KINDS, RESPONSES, STATES, ActionValues, choose, state_of

N_ACTIONS = len(ACTIONS)
DISCOUNT = 0.8


def world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean reward and following state [state, action] of three states."""
    random = np.random.default_rng(seed)
    return random.random((3, N_ACTIONS)), random.integers(0, 3, (3, N_ACTIONS))


def solved(rewards: np.ndarray, following: np.ndarray, exploring_share: float) -> np.ndarray:
    """Values [state, action] of the policy that is greedy but for `exploring_share`: by repeated substitution."""
    values = np.zeros_like(rewards)
    for _ in range(400):
        own = values[following]
        values = rewards + DISCOUNT * ((1 - exploring_share) * own.max(axis=2) + exploring_share * own.mean(axis=2))
    return values


@pytest.mark.parametrize("learner", ["q_learning", "sarsa"])
def test_the_values_converge_to_the_solution(learner: str) -> None:
    """Q-learning finds the values of the best policy although it explores; SARSA those of the exploring policy."""
    rewards, following = world(3)
    random = np.random.default_rng(1)
    table, share = ActionValues(DISCOUNT), 0.4
    state = random.integers(0, 3, 64)
    action = choose(table.probabilities(state, share), random.random(64))
    for _ in range(6_000):
        reward = rewards[state, action] + random.normal(0, 0.2, 64)
        after = following[state, action]
        next_action = choose(table.probabilities(after, share), random.random(64))
        if learner == "sarsa":
            table.sarsa(state, action, reward, after, next_action)
        else:
            table.q_learning(state, action, reward, after)
        restart = random.random(64) < 0.1  # every state is visited again and again
        state = np.where(restart, random.integers(0, 3, 64), after)
        action = np.where(restart, random.integers(0, N_ACTIONS, 64), next_action)
    truth = solved(rewards, following, share if learner == "sarsa" else 0.0)
    assert table.values[:3] == pytest.approx(truth, abs=0.12)
    other = solved(rewards, following, 0.0 if learner == "sarsa" else share)
    assert np.abs(table.values[:3] - truth).mean() < np.abs(table.values[:3] - other).mean() / 2


def test_every_state_has_its_number() -> None:
    """Kinds, bins of age and responses give distinct states within the table; without an alert age is ignored."""
    ages = np.array([0, *AGE_BINS])
    kind, age, response = (axis.ravel() for axis in np.meshgrid(range(len(KINDS)), ages, range(len(RESPONSES))))
    found = state_of(kind, age, response)
    assert found.min() >= 0
    assert found.max() < STATES
    assert len(set(found.tolist())) == (len(KINDS) - 1) * len(ages) * len(RESPONSES) + len(RESPONSES)


def test_probabilities_sum_to_one_and_the_best_action_has_most() -> None:
    table = ActionValues(DISCOUNT)
    table.values[5] = [0.1, 0.9, 0.3, 0.2]
    found = table.probabilities(np.array([5, 6]), 0.2)
    assert found[0] == pytest.approx([0.05, 0.85, 0.05, 0.05])
    assert found[1] == pytest.approx([0.25] * 4)
    drawn = choose(np.tile(found[:1], (20_000, 1)), np.random.default_rng(0).random(20_000))
    assert np.bincount(drawn, minlength=4) / 20_000 == pytest.approx(found[0], abs=0.01)


def test_a_constant_reward_is_learned_from_any_batch_size() -> None:
    """A thousand users of one state at once, or one after the other, converge to the same constant."""
    at_once, one_by_one = ActionValues(0.0), ActionValues(0.0)
    state, action = np.zeros(1000, np.int64), np.ones(1000, np.int64)
    at_once.q_learning(state, action, np.full(1000, 0.7), state)
    for _ in range(1000):
        one_by_one.q_learning(state[:1], action[:1], np.full(1, 0.7), state[:1])
    assert at_once.values[0, 1] == pytest.approx(0.7, abs=1e-3)
    assert one_by_one.values[0, 1] == pytest.approx(0.7)
    assert at_once.visits.sum() == one_by_one.visits.sum() == 1000
