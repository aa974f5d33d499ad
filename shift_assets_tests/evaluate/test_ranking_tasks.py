"""Ranking metrics agree with a library, and hidden or unknown items count as they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from shift_assets.evaluate.ranking_tasks import NDCG_K, SLATE_LENGTH, RankingTask, quality, top_k_items
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings
from shift_assets_tests.event_logs import day, random_log

WINDOW = Window.of(random_log(1, users=12, items=60, per_day=30), day(19), RecommendationSettings())


def task_of(seed: int, hidden: int = 0) -> tuple[RankingTask, np.ndarray]:
    """Random labels and scores on the users and items of a log."""
    random = np.random.default_rng(seed)
    users, items = len(WINDOW.sequences.users), WINDOW.item_count
    pairs = np.unique(np.stack([random.integers(users, size=40), random.integers(-1, items, size=40)]), axis=1)
    hidden_pairs = np.unique(
        np.stack([random.integers(users, size=hidden), random.integers(items, size=hidden)]), axis=1
    )
    task = RankingTask(WINDOW, np.arange(items), pairs[0], pairs[1], WINDOW, (hidden_pairs[0], hidden_pairs[1]))
    return task, (random.random((users, items)) + 0.01).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_ndcg_is_that_of_scikit_learn(seed: int) -> None:
    """Without hidden pairs, the mean over users is what scikit-learn computes from the same scores and labels."""
    task, scores = task_of(seed)
    found = quality(top_k_items(lambda users: scores[users].copy(), task, task.users), task, samples=20, seed=1)
    truth = np.zeros(scores.shape)
    there = task.items >= 0
    truth[task.owners[there], task.items[there]] = 1
    expected = ndcg_score(truth[task.users], scores[task.users], k=NDCG_K)
    assert found.ndcg_at_10.value == pytest.approx(expected, abs=1e-6)
    assert found.users == len(np.unique(task.owners[there]))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 300))
def test_hidden_pairs_are_neither_recommended_nor_counted(seed: int, hidden: int) -> None:
    """No slate holds a hidden item; users without a reachable label are not evaluated."""
    task, scores = task_of(seed, hidden)
    slates = top_k_items(lambda users: scores[users].copy(), task, task.users)
    hidden_pairs = set(zip(*(part.tolist() for part in task.hidden), strict=True))
    for user, items in zip(task.users.tolist(), slates.tolist(), strict=True):
        assert not {(user, item) for item in items} & hidden_pairs
    open_labels = [
        (int(u), int(i))
        for u, i in zip(task.owners, task.items, strict=True)
        if i >= 0 and (int(u), int(i)) not in hidden_pairs
    ]
    assert sorted({user for user, _ in open_labels}) == task.users.tolist()
    assert task.unreachable_share == pytest.approx(1 - len(open_labels) / len(task.owners))


def test_perfect_recommendations_have_metrics_of_one() -> None:
    """Scores equal to the labels have recall, NDCG and debiased NDCG 1, and rank nothing else."""
    task, _ = task_of(3)
    truth = np.zeros((len(WINDOW.sequences.users), WINDOW.item_count), dtype=np.float32)
    there = task.items >= 0
    truth[task.owners[there], task.items[there]] = 1 / np.sqrt(np.maximum(task.users_per_item[task.items[there]], 1))
    slates = top_k_items(lambda users: truth[users].copy(), task, task.users)
    found = quality(slates, task, samples=20, seed=1)
    for estimate in (found.recall_at_20, found.ndcg_at_10, found.ndcg_at_20, found.debiased_ndcg_at_10):
        assert estimate.value == pytest.approx(1.0)
    assert (slates >= 0).sum() == there.sum()
    assert slates.shape[1] == SLATE_LENGTH
