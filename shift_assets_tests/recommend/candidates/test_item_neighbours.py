"""Blocked sparse similarities equal the dense textbook computation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from shift_assets.recommend.candidates import sparse_top_k
from shift_assets.recommend.candidates.item_neighbours import item_similarities
from shift_assets.recommend.candidates.item_transitions import item_transitions
from shift_assets.recommend.candidates.sparse_top_k import top_k_per_row
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings
from shift_assets_tests.event_logs import clean_events, day

TAKEN = arrays.arrays(
    np.float32, st.tuples(st.integers(2, 12), st.integers(2, 9)), elements=st.sampled_from([0.0, 1.0])
)


def dense_similarities(
    taken: npt.NDArray[np.float32], similarity: Literal["cosine", "pearson"], shrinkage: float
) -> npt.NDArray[np.float32]:
    """Cosine of the columns, or of the centred columns, with shrinkage in the denominator; own similarity 0."""
    columns = taken - taken.mean(axis=0) if similarity == "pearson" else taken
    norms = np.sqrt((columns**2).sum(axis=0))
    result = (columns.T @ columns) / np.maximum(np.outer(norms, norms) + shrinkage, np.finfo(np.float32).tiny)
    np.fill_diagonal(result, 0)
    return result.astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "pearson"])
@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
@settings(deadline=None, max_examples=40)
@given(taken=TAKEN)
def test_blocks_equal_the_dense_matrix(
    similarity: Literal["cosine", "pearson"], shrinkage: float, taken: npt.NDArray[np.float32]
) -> None:
    """With all neighbours stored, the blocked sparse result is the positive part of the dense one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_top_k, "BLOCK_VALUES", 2 * taken.shape[1])
        blocked = item_similarities(sparse.csr_matrix(taken), similarity, shrinkage, taken.shape[1]).toarray()
    expected = np.maximum(dense_similarities(taken, similarity, shrinkage), 0)
    np.testing.assert_allclose(blocked, expected, atol=2e-6)


def test_only_the_strongest_neighbours_are_stored() -> None:
    """No item has more neighbours than asked for, and none that is left out is stronger than one stored."""
    dense = np.random.default_rng(0).random((20, 50)).astype(np.float32)
    stored = top_k_per_row(sparse.csr_matrix(dense), 7).toarray()
    assert ((stored > 0).sum(axis=1) == 7).all()
    left_out = np.where(stored > 0, 0, dense)
    assert (np.where(stored > 0, stored, np.inf).min(axis=1) >= left_out.max(axis=1)).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(0, 1))
def test_dense_and_sparse_choice_agree(seed: int, top_k: int, density: float) -> None:
    """Dense and sparse blocks give the same top k, ties included."""
    random = np.random.default_rng(seed)
    values = np.where(random.random((9, 15)) < density, random.integers(1, 4, (9, 15)), 0).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        results = []
        for share in (0.0, 1.0):
            patch.setattr(sparse_top_k, "DENSE_FROM", share)
            results.append(top_k_per_row(sparse.csr_matrix(values), top_k).toarray())
    np.testing.assert_array_equal(*results)
    assert ((results[0] > 0).sum(axis=1) == np.minimum((values > 0).sum(axis=1), top_k)).all()


def test_transitions_point_forward() -> None:
    """An item leads to what users took on later days, never to what they took before or on the same day."""
    events = clean_events(
        [(0, "a", "x-1", "purchase"), (0, "a", "x-2", "purchase"), (1, "a", "x-3", "purchase"), (2, "b", "x-1", "view")]
    )
    window = Window.of(events, day(2), RecommendationSettings())
    visits = np.array([0, 0, 1, 2]) if window.sequences.lengths[0] == 3 else np.array([0, 1, 1, 2])
    follows = item_transitions(window, visits, 10).toarray()
    assert follows[0, 2] > 0
    assert follows[1, 2] > 0
    assert follows.sum() == pytest.approx(follows[0, 2] + follows[1, 2])
