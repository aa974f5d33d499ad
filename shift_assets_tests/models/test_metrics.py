"""Ranking metrics agree with scikit-learn and with their definitions."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from shift_assets.models.metrics import ndcg_at_k, recall_at_k


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
