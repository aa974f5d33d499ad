"""Text embeddings by latent semantic analysis: TF-IDF and a truncated singular value decomposition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from shift_assets.arrays import Float32Array, Int64Array

MINIMUM_TEXTS = 2
"""Texts that a term must occur in: a term of one text relates it to no other."""

_WORD = r"(?u)\b\w\w+\b"


class TextEmbedder:
    """Embeds subsets of fixed texts, which are tokenised once; a subset's vectors do not depend on the other texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer(token_pattern=_WORD)
        try:
            self._counts = vectorizer.fit_transform(texts)
        except ValueError:  # no text holds a token
            self._counts = csr_matrix((len(texts), 0), dtype=np.int64)

    def embed(
        self, chosen: Int64[Int64Array, " row"], dimensions: int, seed: int
    ) -> Float32[Float32Array, "row dimension"]:
        """Embed the texts at these positions (Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 1990).

        Args:
            chosen: positions of the texts.
            dimensions: length of a vector. Where texts or terms are fewer, the last dimensions are zero.
            seed: seed of the randomised decomposition.

        Returns:
            Vectors of unit length, zero for a text that shares no term with another. Signs are fixed (the term with
            the largest weight of a dimension counts positive), so that equal texts and seed give equal vectors.
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
        # Equal texts have no variance, of which scikit-learn computes an unused share: 0 / 0.
        if weights.shape[1] == 1:
            vectors = weights.toarray()  # scikit-learn decomposes no fewer than two terms
        else:
            with threadpool_limits(limits=1), np.errstate(invalid="ignore"):
                vectors = TruncatedSVD(n_components, n_iter=2, random_state=seed).fit_transform(weights)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        # Rounding leaves a length of about 1e-7 to a text without a known term.
        out[:, :n_components] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-4)
        return out
