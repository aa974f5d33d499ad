"""User-user collaborative filtering (user-kNN): items of the most similar users.

Similarity of the rows of the user × item matrix (Resnick et al., CSCW 1994), shrunk towards 0 where two users share
few items: cosine of the binary rows, each item weighted by its inverse user frequency so that universally popular
items do not make users similar, or Pearson with the rows centred. A user is not its own neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """Parameters of user-kNN."""

    centred: bool = False
    """Pearson correlation of the rows; False: cosine with inverse user frequency."""
    shrinkage: float = 10.0
    """Added to the denominator of a similarity: pulls those of few shared items towards 0."""
    neighbours: int = 50
    """Similar users per user."""
    half_life_days: float
    """Days in which a neighbour's interaction loses half its weight."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(half_life_days=settings.half_life_days)


def user_similarities(
    left: sparse.csr_matrix,
    right: sparse.csr_matrix,
    same: Int64Array,
    *,
    centred: bool,
    shrinkage: float,
    neighbours: int,
) -> sparse.csr_matrix:
    """The `neighbours` most similar rows of `right` for every row of `left`, [left user, right user].

    Args:
        left: Users to find neighbours for, [user, item].
        right: Users to choose neighbours from, [user, item].
        same: Row of `right` that is the same user as a row of `left`, -1 for none, [left user].
        centred: Pearson correlation of the rows over all items; False: cosine.
        shrinkage: Added to the denominator.
        neighbours: Similarities stored per row; only positive ones are.
    """
    items = max(left.shape[1], 1)
    means = [np.asarray(rows.sum(axis=1), dtype=np.float32).ravel() / items for rows in (left, right)]
    norms = [
        np.sqrt(np.maximum(np.asarray(rows.multiply(rows).sum(axis=1)).ravel() - centred * items * mean**2, 0))
        for rows, mean in zip((left, right), means, strict=True)
    ]

    def similarity_of(block: sparse.csr_matrix, rows: Int64Array) -> None:
        row = rows[np.repeat(np.arange(len(rows)), np.diff(block.indptr))]
        both = block.data - items * means[0][row] * means[1][block.indices] if centred else block.data
        bound = norms[0][row] * norms[1][block.indices] + shrinkage
        block.data = (both / np.maximum(bound, np.finfo(np.float32).tiny)).astype(np.float32)
        block.data[block.indices == same[row]] = 0

    return top_k_product(left, right.T.tocsr(), neighbours, similarity_of)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    config = Config.of(inputs.settings)
    known = decayed_interactions(inputs.window, config.half_life_days)
    taken = known.sign()
    support = np.asarray(taken.sum(axis=0)).ravel()
    idf = np.log((1 + taken.shape[0]) / (1 + support)).astype(np.float32)

    def profiles(binary: sparse.csr_matrix) -> sparse.csr_matrix:
        return binary if config.centred else (binary @ sparse.diags(idf)).tocsr()

    fitted_profiles = profiles(taken)
    positions = {user: position for position, user in enumerate(inputs.window.sequences.users)}

    def scorer(window: Window) -> Scorer:
        own = profiles(decayed_interactions(window, config.half_life_days).sign())
        same = np.array([positions.get(user, -1) for user in window.sequences.users], dtype=np.int64)

        def scores(users: Int64Array) -> Float32Array:
            similar_users = user_similarities(
                own[users],
                fitted_profiles,
                same[users],
                centred=config.centred,
                shrinkage=config.shrinkage,
                neighbours=config.neighbours,
            )
            return np.asarray((similar_users @ known).toarray(), dtype=np.float32)

        return scores

    return scorer


USER_NEIGHBOURS = CandidateGenerator(
    "users_alike", _fit, {"en": "Taken by users of similar taste", "zh": "品味相近的用户也选购"}
)
