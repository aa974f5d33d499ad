"""TF-IDF of item texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array


def tfidf_matrix(texts: Sequence[str], index: dict[str, int], idf: Float32Array) -> sparse.csr_matrix:
    """TF-IDF[text, term] with logarithmic term counts, rows of unit length; a text without known terms is empty."""
    from shift_assets.ingest.categories.item_terms import terms

    starts: list[int] = [0]
    columns: list[int] = []
    values: list[float] = []
    for text in texts:
        counts = Counter(index[term] for term in terms(text) if term in index)
        positions = sorted(counts)
        weights = np.array([(1 + np.log(counts[position])) * idf[position] for position in positions], np.float64)
        columns += positions
        values += (weights / np.linalg.norm(weights)).tolist() if positions else []
        starts.append(len(columns))
    return sparse.csr_matrix((values, columns, starts), shape=(len(texts), len(index)), dtype=np.float64)
