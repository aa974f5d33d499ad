"""Text embeddings of few or no shared terms."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.interest.embeddings import TextEmbedder


@pytest.mark.parametrize(
    ("texts", "known"),
    [
        (["red mug", "red cup", "plate"], [True, True, False]),
        (["red mug", "red mug", "plate"], [True, True, False]),
        (["mug", "cup"], [False, False]),
        (["", ""], [False, False]),
    ],
    ids=["one shared term", "two shared terms", "none shared", "no token"],
)
def test_few_terms_give_short_vectors_padded_with_zeros(texts: list[str], known: list[bool]) -> None:
    """Where texts share one term, several or none, vectors are of unit length for those that share one, else zero."""
    vectors = TextEmbedder(texts).embed(np.arange(len(texts)), 4, seed=1)
    assert vectors.shape == (len(texts), 4)
    assert np.allclose(np.linalg.norm(vectors, axis=1), np.array(known, float), atol=1e-5)
