"""The text vectoriser: TF-IDF weights of terms, and their truncated singular value decomposition.

Source: Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 41 (1990).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32
from scipy import sparse

from shift_assets.arrays import Float32Array, FloatArray

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

Document = Sequence[str]
"""The terms of a text, in order. Which tokenisation made them is the caller's choice."""


@dataclass(frozen=True, eq=False)
class TextVectorizer:
    """TF-IDF weights with logarithmic term counts, at unit length.

    Attributes:
        vocabulary: The known terms, in alphabetical order.
        idf: Inverse document frequency of each term.
    """

    vocabulary: tuple[str, ...]
    idf: Float[FloatArray, " term"]

    @classmethod
    def fit_transform(
        cls, documents: Sequence[Document], minimum_documents: int
    ) -> tuple[TextVectorizer, sparse.csr_matrix]:
        """Learn the terms of at least `minimum_documents` documents; return the vectoriser and their weights."""
        counts = Counter(term for document in documents for term in set(document))
        vocabulary = tuple(sorted(term for term, count in counts.items() if count >= minimum_documents))
        if not vocabulary:
            fitted = cls((), np.zeros(0))
            return fitted, fitted.tfidf(documents)
        vectorizer = _unfitted(vocabulary)
        weights = sparse.csr_matrix(vectorizer.fit_transform(documents))
        return cls(vocabulary, vectorizer.idf_), weights

    def tfidf(self, documents: Sequence[Document]) -> sparse.csr_matrix:
        """Return float64 weights [document, term]; a document without a known term has none.

        >>> TextVectorizer(("mug", "tea"), np.array([1.0, 1.0])).tfidf([["tea", "mug"], ["tea"], []]).toarray().round(2)
        array([[0.71, 0.71],
               [0.  , 1.  ],
               [0.  , 0.  ]])
        """
        if not self.vocabulary or not len(documents):
            return sparse.csr_matrix((len(documents), len(self.vocabulary)), dtype=np.float64)
        return sparse.csr_matrix(self._vectorizer.transform(documents))

    @cached_property
    def _vectorizer(self) -> TfidfVectorizer:
        vectorizer = _unfitted(self.vocabulary)
        vectorizer.idf_ = self.idf
        return vectorizer


def _unfitted(vocabulary: Sequence[str]) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=list, token_pattern=None, lowercase=False, vocabulary=vocabulary, sublinear_tf=True)


def svd_components(
    weights: sparse.csr_matrix, dimensions: int, seed: int, *, iterations: int | None = None
) -> Float32[Float32Array, "dimension term"]:
    """Return the leading right singular vectors of `weights` [document, term].

    Args:
        weights: At least two terms, and `dimensions` documents and terms.
        dimensions: Singular vectors to return.
        seed: Seed of the starting vectors. Runs on one thread, so that equal input gives equal output on any machine.
        iterations: Power iterations of the randomised solver; None: the exact one (ARPACK).
    """
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits

    solver = {"algorithm": "arpack"} if iterations is None else {"n_iter": iterations}
    # Documents that are all alike have no variance, of which scikit-learn reports a share that is not used here.
    with threadpool_limits(limits=1, user_api="blas"), np.errstate(invalid="ignore"):
        model = TruncatedSVD(dimensions, random_state=seed, **solver).fit(weights)
    return np.asarray(model.components_, dtype=np.float32)
