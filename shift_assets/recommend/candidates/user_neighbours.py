"""User-user collaborative filtering: what the users of the most similar taste took.

Similarity of the rows of the user × item matrix (Resnick et al., CSCW 1994), shrunk towards 0 where two users share
few items: cosine of the binary rows, each item weighted by log(users / users who took it) so that what everybody
takes makes nobody alike, or Pearson with the rows centred. A user is no neighbour of its own.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.interactions import decayed_interactions
from shift_assets.recommend.candidates.sparse_top_k import top_k_product
from shift_assets.recommend.window import Window


def user_similarities(
    left: sparse.csr_matrix,
    right: sparse.csr_matrix,
    same: Int64Array,
    *,
    centred: bool,
    shrinkage: float,
    neighbours: int,
) -> sparse.csr_matrix:
    """The `neighbours` most similar rows of `right[user, item]` for every row of `left[user, item]`.

    `same[row of left]` is the row of `right` that is the same user, -1 for none. Only positive similarities are kept.
    `centred`: Pearson's correlation of the rows, over all items; else their cosine.
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
    settings = inputs.settings
    known = decayed_interactions(inputs.window, settings.half_life_days)
    taken = known.sign()
    support = np.asarray(taken.sum(axis=0)).ravel()
    idf = np.log((1 + taken.shape[0]) / (1 + support)).astype(np.float32)
    centred = settings.similarity == "pearson"

    def profiles(binary: sparse.csr_matrix) -> sparse.csr_matrix:
        return binary if centred else (binary @ sparse.diags(idf)).tocsr()

    fitted_profiles = profiles(taken)
    positions = {user: position for position, user in enumerate(inputs.window.sequences.users)}

    def scorer(window: Window) -> Scorer:
        own = profiles(decayed_interactions(window, settings.half_life_days).sign())
        same = np.array([positions.get(user, -1) for user in window.sequences.users], dtype=np.int64)

        def scores(users: Int64Array) -> Float32Array:
            similar_users = user_similarities(
                own[users],
                fitted_profiles,
                same[users],
                centred=centred,
                shrinkage=settings.shrinkage,
                neighbours=settings.alike_users,
            )
            return np.asarray((similar_users @ known).toarray(), dtype=np.float32)

        return scores

    return scorer


USER_NEIGHBOURS = CandidateGenerator("users_alike", _fit)
