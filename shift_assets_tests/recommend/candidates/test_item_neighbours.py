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
from shift_assets.recommend.candidates.base import GeneratorInputs
from shift_assets.recommend.candidates.item_content import Content
from shift_assets.recommend.candidates.item_neighbours import item_similarities
from shift_assets.recommend.candidates.item_transitions import item_transitions
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.candidates.sparse_top_k import top_k_per_row
from shift_assets.recommend.candidates.user_signals import UserSignals
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings
from shift_assets_tests.event_logs import Row, clean_events, day, random_log
from shift_assets_tests.recommend.generator_inputs import generator_inputs

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
    return result


@pytest.mark.parametrize("similarity", ["cosine", "pearson"])
@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
@settings(deadline=None, max_examples=40)
@given(taken=TAKEN)
def test_blocks_equal_the_dense_matrix(
    similarity: Literal["cosine", "pearson"], shrinkage: float, taken: npt.NDArray[np.float32]
) -> None:
    """With all neighbours kept, the blocked sparse result is the positive part of the dense one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_top_k, "BLOCK_VALUES", 2 * taken.shape[1])
        blocked = item_similarities(sparse.csr_matrix(taken), similarity, shrinkage, taken.shape[1]).toarray()
    expected = np.maximum(dense_similarities(taken, similarity, shrinkage), 0)
    np.testing.assert_allclose(blocked, expected, atol=2e-6)


def test_only_the_strongest_neighbours_are_kept() -> None:
    """No item has more neighbours than asked, and none that is left out is stronger than one kept."""
    dense = np.random.default_rng(0).random((20, 50)).astype(np.float32)
    kept = top_k_per_row(sparse.csr_matrix(dense), 7).toarray()
    assert ((kept > 0).sum(axis=1) == 7).all()
    left_out = np.where(kept > 0, 0, dense)
    assert (np.where(kept > 0, kept, np.inf).min(axis=1) >= left_out.max(axis=1)).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(0, 1))
def test_dense_and_sparse_choice_agree(seed: int, kept: int, density: float) -> None:
    """Which way the strongest are sought makes no difference, ties included."""
    random = np.random.default_rng(seed)
    values = np.where(random.random((9, 15)) < density, random.integers(1, 4, (9, 15)), 0).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        results = []
        for share in (0.0, 1.0):
            patch.setattr(sparse_top_k, "DENSE_FROM", share)
            results.append(top_k_per_row(sparse.csr_matrix(values), kept).toarray())
    np.testing.assert_array_equal(*results)
    assert ((results[0] > 0).sum(axis=1) == np.minimum((values > 0).sum(axis=1), kept)).all()


def test_transitions_point_forward() -> None:
    """An item leads to what users took on later days, never to what came before or on the same day."""
    events = clean_events(
        [(0, "a", "x-1", "purchase"), (0, "a", "x-2", "purchase"), (1, "a", "x-3", "purchase"), (2, "b", "x-1", "view")]
    )
    window = Window.of(events, day(2), RecommendationSettings())
    visits = np.array([0, 0, 1, 2]) if window.sequences.lengths[0] == 3 else np.array([0, 1, 1, 2])
    follows = item_transitions(window, visits, 10).toarray()
    assert follows[0, 2] > 0
    assert follows[1, 2] > 0
    assert follows.sum() == pytest.approx(follows[0, 2] + follows[1, 2])


@pytest.mark.parametrize("name", [name for name, source in GENERATORS.items() if not source.needs_model])
def test_a_generator_scores_every_item_and_nothing_below_zero(name: str) -> None:
    """Every source gives finite scores, 0 or more, one per listed user and item, and proposes something."""
    events = random_log(1, per_day=120)
    window = Window.of(events, day(19), RecommendationSettings())
    scores = GENERATORS[name].fit(generator_inputs(events, window, RecommendationSettings()))(window)(
        window.target_users
    )
    assert scores.shape == (len(window.target_users), window.item_count)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert scores.any()


@pytest.mark.parametrize("name", [name for name, source in GENERATORS.items() if not source.needs_model])
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(19, "a", "x-1", "return")],
        [(19, "a", "x-1", "view")],
        [(19, "a", "x-1", "view"), (19, "b", "y-1", "view")],
    ],
    ids=["nothing", "a return", "one view", "two users"],
)
def test_a_generator_with_next_to_no_data_gives_finite_scores(
    name: str, rows: list[Row], capfd: pytest.CaptureFixture
) -> None:
    """A log without users, or with nothing in common between them, gives scores of the right shape and no complaint."""
    events = clean_events(rows)
    window = Window.of(events, day(19), RecommendationSettings())
    inputs = GeneratorInputs(
        window,
        RecommendationSettings(),
        None,
        Content.of(events, window.vocabulary, items=None, external=None, seed=0),
        UserSignals.of(events, None),
    )
    scores = GENERATORS[name].fit(inputs)(window)(window.target_users)
    assert scores.shape == (len(window.target_users), window.item_count)
    assert np.isfinite(scores).all()
    assert capfd.readouterr().err == ""
