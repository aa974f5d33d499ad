"""Metrics agree with scikit-learn, with their definitions, and with each other where they have to."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from shift_assets.outcomes.estimates import ndcg_at_k, ratio_estimate, recall_at_k, resamples


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
