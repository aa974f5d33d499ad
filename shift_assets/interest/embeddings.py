"""Text embeddings by latent semantic analysis: TF-IDF and a truncated singular value decomposition."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.ingest.categories.text_vectorizer import TextVectorizer, svd_components

MINIMUM_TEXTS = 2
"""Texts that a term must occur in: a term of one text relates it to no other."""
SVD_ITERATIONS = 2

_WORD = re.compile(r"\b\w\w+\b")


class TextEmbedder:
    """Embeds subsets of fixed texts, which are tokenised once; a subset's vectors do not depend on the other texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        # Interned, so that a word of many texts is held once.
        self._documents = [list(map(sys.intern, _WORD.findall(text.lower()))) for text in texts]

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
        documents = [self._documents[position] for position in chosen.tolist()]
        weights = TextVectorizer.fit_transform(documents, MINIMUM_TEXTS)[1].astype(np.float32)
        out = np.zeros((len(chosen), dimensions), dtype=np.float32)
        n_components = min(dimensions, *weights.shape)
        if n_components == 0:
            return out
        if weights.shape[1] == 1:
            vectors = weights.toarray()  # scikit-learn decomposes no fewer than two terms
        else:
            vectors = weights @ svd_components(weights, n_components, seed, iterations=SVD_ITERATIONS).T
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        # Rounding leaves about 1e-7 of a text without a known term.
        out[:, :n_components] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-4)
        return out
