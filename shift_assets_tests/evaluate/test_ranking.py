"""Metrics agree with scikit-learn, with their definitions, and with each other where they have to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from shift_assets.evaluate.ranking import (
    doubly_robust,
    importance_weighted,
    ndcg_at_k,
    ratio_estimate,
    recall_at_k,
    resamples,
)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(8, 20))
def test_ndcg_and_recall_agree_with_scikit_learn(seed: int, k: int, items: int) -> None:
    """On full rankings NDCG@k is scikit-learn's, and recall@k counts what the first k places hold."""
    random = np.random.default_rng(seed)
    relevance = random.random((5, items)) < 0.3
    relevance[:, 0] = True
    scores = np.stack([random.permutation(items) for _ in range(5)])
    ranking = np.argsort(-scores, axis=1)
    hits = np.take_along_axis(relevance, ranking, axis=1)[:, :k]
    relevant = relevance.sum(axis=1)
    expected = [ndcg_score(relevance[[user]], scores[[user]], k=k) for user in range(5)]
    np.testing.assert_allclose(ndcg_at_k(hits, relevant), expected)
    found = [len(set(ranking[user, :k]) & set(np.flatnonzero(relevance[user]))) for user in range(5)]
    np.testing.assert_allclose(recall_at_k(hits, relevant), np.array(found) / np.minimum(relevant, k))


def test_nothing_relevant_is_no_gain() -> None:
    """A user who took nothing has recall and NDCG 0, not NaN."""
    hits, relevant = np.zeros((1, 3), bool), np.zeros(1, np.int64)
    assert recall_at_k(hits, relevant) == 0
    assert ndcg_at_k(hits, relevant) == 0


def test_with_certainty_every_off_policy_estimate_is_the_plain_mean() -> None:
    """Propensities of 1 leave IPS and DR at the reward that was seen, whatever the reward model says."""
    random = np.random.default_rng(0)
    rewards, expected = (random.random((6, 4)) < 0.5).astype(float), random.random((6, 4))
    certain = np.ones((6, 4))
    np.testing.assert_allclose(importance_weighted(rewards, certain), rewards.sum(axis=1))
    np.testing.assert_allclose(doubly_robust(rewards, certain, expected), rewards.sum(axis=1))


def test_estimates_are_unbiased_under_exploration() -> None:
    """What an exploring policy logged gives back, over 1 / propensity, the summed value of the items it drew from."""
    random = np.random.default_rng(1)
    truth, propensities = np.array([0.1, 0.8]), np.array([0.25, 0.75])
    drawn = random.choice(2, size=(40_000, 1), p=propensities)
    rewards = (random.random(drawn.shape) < truth[drawn]).astype(float)
    assert importance_weighted(rewards, propensities[drawn]).mean() == pytest.approx(truth.sum(), abs=0.03)


def test_a_true_reward_model_takes_the_noise_of_rare_items_out() -> None:
    """Where the reward model is right, DR varies less than IPS from log to log."""
    random = np.random.default_rng(1)
    truth, propensities = np.array([0.9, 0.9]), np.array([0.05, 0.95])
    drawn = random.choice(2, size=(5_000, 1), p=propensities)
    rewards = (random.random(drawn.shape) < truth[drawn]).astype(float)
    weights = propensities[drawn]
    assert doubly_robust(rewards, weights, truth[drawn]).std() < importance_weighted(rewards, weights).std() / 2


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, float("nan")])
def test_impossible_propensities_are_refused(propensity: float) -> None:
    """What was shown had a positive probability of being shown, and none above 1."""
    with pytest.raises(ValueError, match="propensity"):
        importance_weighted(np.ones((1, 1)), np.full((1, 1), propensity))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 200 samples of 80 users, about 95 % of the intervals hold the true mean."""
    random = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        estimate = ratio_estimate((random.random(80) < 0.4).astype(float), np.ones(80), resamples(80, 200, seed))
        assert estimate is not None
        assert estimate.low <= estimate.value <= estimate.high
        covered += estimate.low <= 0.4 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_nobody_is_no_estimate() -> None:
    """Without users there is no value to estimate."""
    assert ratio_estimate(np.zeros(0), np.zeros(0), resamples(0, 20, 0)) is None
