"""Texts as short vectors: TF-IDF and a truncated singular value decomposition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MINIMUM_TEXTS = 2
"""Texts that a term must stand in: a term of one text relates it to no other."""

_WORD = r"(?u)\b\w\w+\b"


class TextEmbedder:
    """Embeds subsets of a fixed list of texts; tokenises the list once.

    A subset's vectors depend on the subset alone, not on the other texts of the list.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer(token_pattern=_WORD)
        try:
            self._counts = vectorizer.fit_transform(texts)
        except ValueError:  # no text holds a token
            self._counts = csr_matrix((len(texts), 0), dtype=np.int64)

    def embed(self, chosen: NDArray[np.int64], dimensions: int, seed: int) -> NDArray[np.float32]:
        """Vectors [len(chosen), dimensions] of unit length; zero for a text that shares no term with another.

        chosen: positions in the list of texts, one per row of the result. Where texts or terms are fewer than the
        dimensions, the last ones are zero. Signs are fixed (the term with the largest weight of a dimension counts
        positive), so that equal texts and seed give equal vectors.

        Source: Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 41 (1990).
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfTransformer
        from threadpoolctl import threadpool_limits

        counts = self._counts[chosen]
        counts = counts[:, np.flatnonzero(counts.getnnz(axis=0) >= MINIMUM_TEXTS)]
        out = np.zeros((len(chosen), dimensions), dtype=np.float32)
        n_components = min(dimensions, *counts.shape)
        if n_components == 0:
            return out
        weights = TfidfTransformer(sublinear_tf=True).fit_transform(counts).astype(np.float32)
        # One thread: the sums, and so the vectors, must not depend on how many cores there are.
        # Texts that are all alike have no variance, of which sklearn reports a share that nobody reads.
        if weights.shape[1] == 1:
            vectors = weights.toarray()  # one term is one dimension; sklearn decomposes no fewer than two
        else:
            with threadpool_limits(limits=1), np.errstate(invalid="ignore"):
                vectors = TruncatedSVD(n_components, n_iter=2, random_state=seed).fit_transform(weights)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        # Rounding leaves about 1e-7 of a text without a known term.
        out[:, :n_components] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-4)
        return out
