"""User-kNN, matrix factorisation and EASE: each equals its textbook definition on small matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from shift_assets.arrays import Float32Array
from shift_assets.ingest.cleaning.engines.spark import spark_session
from shift_assets.recommend.candidates.als import IMPLICIT_ALS, REGULARISATION, factorise_in_process, fold_in
from shift_assets.recommend.candidates.base import CandidateGenerator, GeneratorInputs
from shift_assets.recommend.candidates.ease import EASE, ease_weights
from shift_assets.recommend.candidates.user_neighbours import USER_NEIGHBOURS, user_similarities
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings, Settings
from shift_assets_tests.event_logs import Row, clean_events, day
from shift_assets_tests.recommend.generator_inputs import generator_inputs
from shift_assets_tests.spark import needs_java

TAKEN = arrays.arrays(
    np.float32, st.tuples(st.integers(2, 10), st.integers(2, 9)), elements=st.sampled_from([0.0, 1.0])
)
LAST = day(2)


@pytest.mark.parametrize("centred", [False, True])
@settings(deadline=None, max_examples=40)
@given(taken=TAKEN, shrinkage=st.sampled_from([0.0, 5.0]))
def test_user_similarities_equal_the_dense_matrix(
    centred: bool, taken: npt.NDArray[np.float32], shrinkage: float
) -> None:
    """Cosine or correlation of the rows, shrunk, where it is positive and the users share an item."""
    rows = sparse.csr_matrix(taken)
    users = len(taken)
    found = user_similarities(
        rows, rows, np.arange(users), centred=centred, shrinkage=shrinkage, neighbours=users
    ).toarray()
    moved = taken - taken.mean(axis=1, keepdims=True) if centred else taken
    norms = np.sqrt((moved**2).sum(axis=1))
    bound = np.maximum(np.outer(norms, norms) + shrinkage, np.finfo(np.float32).tiny)
    expected = np.where(taken @ taken.T > 0, np.maximum(moved @ moved.T, 0) / bound, 0)
    np.fill_diagonal(expected, 0)
    # A row without variance has no correlation; rounding makes it 0 / tiny.
    defined = np.outer(norms > 1e-3, norms > 1e-3)
    assert found[defined] == pytest.approx(expected[defined], abs=1e-5)


def two_category_inputs() -> tuple[Window, GeneratorInputs]:
    """Ten users of each of two categories, each without one item of its own category."""
    rows: list[Row] = [
        (item % 3, f"{category} {user}", f"{category}-{item}", "purchase")
        for category in ("tea", "garden")
        for user in range(10)
        for item in range(6)
        if item != user % 6
    ]
    events, chosen = clean_events(rows), RecommendationSettings()
    window = Window.of(events, LAST, chosen)
    return window, generator_inputs(events, window, chosen)


def assert_categories_separated(window: Window, scores: Float32Array) -> None:
    categories = np.array([item.partition("-")[0] for item in window.vocabulary.items])
    for row, user in enumerate(window.target_users):
        own = window.items[window.owners == user]
        category = categories[own[0]]
        (missing,) = set(np.flatnonzero(categories == category)) - set(own)
        assert scores[row, missing] > scores[row, categories != category].max()


@pytest.mark.parametrize("generator", [USER_NEIGHBOURS, IMPLICIT_ALS, EASE], ids=lambda generator: generator.name)
def test_the_missing_item_of_a_category_ranks_above_the_other_category(generator: CandidateGenerator) -> None:
    """What similar users took ranks above every item of the other category."""
    window, inputs = two_category_inputs()
    assert_categories_separated(window, generator.fit(inputs)(window)(window.target_users))


@settings(deadline=None, max_examples=25)
@given(taken=TAKEN, regularisation=st.floats(0.5, 20))
def test_ease_weights_minimise_the_penalised_error(taken: npt.NDArray[np.float32], regularisation: float) -> None:
    """No small change of a weight off the diagonal lowers the penalised error: the slope there is 0."""
    weights = ease_weights(sparse.csr_matrix(taken), regularisation)
    assert np.diag(weights) == pytest.approx(0)
    slope = taken.T @ (taken @ weights - taken) + regularisation * weights
    np.fill_diagonal(slope, 0)
    assert np.abs(slope).max() < 1e-3


def confidence(seed: int, users: int = 12, items: int = 8) -> sparse.csr_matrix:
    random = np.random.default_rng(seed)
    return sparse.csr_matrix((random.random((users, items)) * (random.random((users, items)) < 0.4)).astype(np.float32))


@pytest.mark.parametrize("seed", range(3))
def test_folding_in_solves_the_normal_equations(seed: int) -> None:
    """A user's vector solves (VᵀCV + λI) x = VᵀC p; without a history it is zero."""
    counts = confidence(seed)
    counts = sparse.vstack([counts[:1] * 0, counts[1:]], format="csr")
    counts.eliminate_zeros()
    vectors = np.random.default_rng(seed).normal(size=(counts.shape[1], 3)).astype(np.float32)
    found = fold_in(vectors, counts)
    for user, row in enumerate(counts.toarray()):
        weight = np.where(row > 0, row, 1)
        left = (vectors * weight[:, None]).T @ vectors + REGULARISATION * np.eye(3)
        assert found[user] == pytest.approx(np.linalg.solve(left, vectors.T @ (weight * (row > 0))), abs=1e-4)
    assert not found[0].any()


def test_factorisation_depends_on_the_seed_alone() -> None:
    """The same log and seed give the same vectors, another seed others."""
    one = factorise_in_process(confidence(1), 4, 5)
    assert np.array_equal(one, factorise_in_process(confidence(1), 4, 5))
    assert not np.array_equal(one, factorise_in_process(confidence(1), 4, 6))


@pytest.mark.spark
@needs_java
def test_both_engines_find_the_same_categories() -> None:
    """With vectors of Spark MLlib, too, the missing item of a category ranks above the other category."""
    window, inputs = two_category_inputs()
    with spark_session(Settings().spark.remote) as session:
        by_spark = IMPLICIT_ALS.fit(inputs._replace(session=session))(window)(window.target_users)
    assert_categories_separated(window, by_spark)
