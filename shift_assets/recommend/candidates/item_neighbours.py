"""Item-item collaborative filtering (item-kNN): items similar to those that the user interacted with.

Similarity of the columns of the binary user × item matrix (Sarwar et al., WWW 2001), shrunk towards 0 where few users
support it (Koren, KDD 2008): cosine n_ij / (sqrt(n_i n_j) + shrinkage), or Pearson with the columns centred. An item
is not its own neighbour; repeats are the generator `repeats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.interactions import decayed_interactions
from shift_assets.recommend.candidates.sparse_top_k import top_k_product
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Parameters of item-kNN."""

    similarity: Literal["cosine", "pearson"] = "cosine"
    """Similarity of two items' columns of users."""
    shrinkage: float = 10.0
    """Added to the denominator of a similarity: pulls those of few users towards 0."""
    neighbours: int = 100
    """Neighbours stored per item."""
    half_life_days: float
    """Days in which an interaction of the scored history loses half its weight."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(half_life_days=settings.half_life_days)


def item_similarities(
    taken: sparse.csr_matrix, similarity: Literal["cosine", "pearson"], shrinkage: float, neighbours: int
) -> sparse.csr_matrix:
    """The `neighbours` most similar items of every item, [item, neighbour item], from binary `taken[user, item]`.

    Only positive similarities are stored. Rows are computed in blocks: no items × items matrix is ever dense.
    """
    users = taken.shape[0]
    columns = taken.T.tocsr()
    support = np.asarray(taken.sum(axis=0), dtype=np.float32).ravel()
    mean = support / max(users, 1)
    norm = np.sqrt(support * (1 - mean) if similarity == "pearson" else support)

    def similarity_of(block: sparse.csr_matrix, rows: Int64Array) -> None:
        row = rows[np.repeat(np.arange(len(rows)), np.diff(block.indptr))]
        both = block.data
        if similarity == "pearson":
            both = both - support[row] * mean[block.indices]
        block.data = both / np.maximum(norm[row] * norm[block.indices] + shrinkage, np.finfo(np.float32).tiny)
        block.data[block.indices == row] = 0

    return top_k_product(columns, taken, neighbours, similarity_of)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    config = Config.of(inputs.settings)
    taken = decayed_interactions(inputs.window, config.half_life_days)
    taken.data = np.ones_like(taken.data)
    similar = item_similarities(taken, config.similarity, config.shrinkage, config.neighbours)

    def scorer(window: Window) -> Scorer:
        own = decayed_interactions(window, config.half_life_days)

        def scores(users: Int64Array) -> Float32Array:
            return np.asarray((own[users] @ similar).toarray(), dtype=np.float32)

        return scores

    return scorer


ITEM_NEIGHBOURS = CandidateGenerator(
    "item_neighbours", _fit, {"en": "Goes with items taken before", "zh": "与曾经选购的商品相配"}
)
