"""Laws of the text vectoriser."""

from __future__ import annotations

import numpy as np

from shift_assets.ingest.categories.text_vectorizer import TextVectorizer, svd_components

DOCUMENTS = [["tea", "mug", "mug"], ["mug"], ["tea", "pot"], []]


def test_a_stored_vectorizer_weighs_as_the_fitted_one() -> None:
    """Vocabulary and inverse frequencies are all of it; weights are TF-IDF with logarithmic counts, at unit length."""
    fitted, weights = TextVectorizer.fit_transform(DOCUMENTS, 2)
    assert fitted.vocabulary == ("mug", "tea")
    idf = 1 + np.log(5 / 3)
    assert np.allclose(fitted.idf, idf)
    both = np.array([(1 + np.log(2)) * idf, idf])
    expected = [both / np.linalg.norm(both), [1, 0], [0, 1], [0, 0]]
    assert np.allclose(weights.toarray(), expected)
    stored = TextVectorizer(fitted.vocabulary, fitted.idf)
    assert np.array_equal(stored.tfidf(DOCUMENTS).toarray(), weights.toarray())


def test_without_a_shared_term_nothing_has_weight() -> None:
    fitted, weights = TextVectorizer.fit_transform([["tea"], ["mug"]], 2)
    assert (fitted.vocabulary, weights.shape, fitted.tfidf([["tea"]]).shape) == ((), (2, 0), (1, 0))


def test_equal_weights_and_seed_have_equal_components() -> None:
    """Exact or randomised, up to a sign that is fixed."""
    _, weights = TextVectorizer.fit_transform([[*"abc"], [*"abd"], [*"cde"], [*"aef"], [*"bf"]], 1)
    randomised = svd_components(weights, 2, seed=3, iterations=4)
    assert np.array_equal(randomised, svd_components(weights, 2, seed=3, iterations=4))
    assert np.allclose(np.abs(randomised), np.abs(svd_components(weights, 2, seed=3)), atol=1e-2)
