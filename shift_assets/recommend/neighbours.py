"""Item-item collaborative filtering: what goes with the items that the user took.

Similarity of the columns of the binary user × item matrix (Sarwar et al. 2001), shrunk towards 0 where few users
support it (Koren 2008): cosine n_ij / (sqrt(n_i n_j) + shrinkage), or Pearson with the columns centred. An item is
no neighbour of its own; that a user takes an item again is the business of `repeats`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse

from shift_assets.models.sequences import Integers
from shift_assets.recommend.source import Inputs, Scorer, Source
from shift_assets.recommend.window import Floats

BLOCK_VALUES = 2**21
"""Values of a block of item rows held densely at once: 8 MiB."""
TASTE_CAP = 2.0


def item_similarities(
    taken: sparse.csr_matrix, similarity: Literal["cosine", "pearson"], shrinkage: float, neighbours: int
) -> sparse.csr_matrix:
    """The `neighbours` most similar items of every item, [item, neighbour item], from binary `taken[user, item]`.

    Only positive similarities are kept. Rows are worked through in blocks: no items × items matrix is ever dense.
    """
    users, items = taken.shape
    columns = taken.T.tocsr()
    support = np.asarray(taken.sum(axis=0), dtype=np.float32).ravel()
    mean = support / max(users, 1)
    norm = np.sqrt(support * (1 - mean) if similarity == "pearson" else support)
    rows_per_block = max(1, BLOCK_VALUES // max(items, 1))
    kept = min(neighbours, max(items - 1, 0))
    if kept == 0:
        return sparse.csr_matrix((items, items), dtype=np.float32)
    parts = []
    for start in range(0, items, rows_per_block):
        rows = np.arange(start, min(start + rows_per_block, items))
        block = (columns[rows] @ taken).toarray()
        if similarity == "pearson":
            block -= support[rows, None] * mean
        block /= np.maximum(norm[rows, None] * norm + shrinkage, np.finfo(np.float32).tiny)
        block[np.arange(len(rows)), rows] = 0
        parts.append(sparse_top(block, kept))
    return sparse.vstack(parts, format="csr")


def sparse_top(block: Floats, kept: int) -> sparse.csr_matrix:
    """The `kept` largest positive values of every row of `block`, as a sparse matrix of its shape."""
    kept = min(kept, block.shape[1])
    # Sought from the front: from the back, the many equal zeros make the selection ten times slower.
    best = np.sort(np.argpartition(-block, kept - 1, axis=1)[:, :kept], axis=1)
    values = np.take_along_axis(block, best, axis=1)
    values[values < 0] = 0
    result = sparse.csr_matrix(
        (values.ravel(), best.ravel(), np.arange(0, best.size + 1, kept)), shape=block.shape, dtype=np.float32
    )
    result.eliminate_zeros()
    return result


def _fit(inputs: Inputs) -> Scorer:
    window, settings = inputs.window, inputs.settings
    tastes = window.user_items(np.exp2(-window.ages / settings.half_life_days))
    tastes.data = np.minimum(tastes.data, TASTE_CAP)
    taken = tastes.copy()
    taken.data = np.ones_like(taken.data)
    similar = item_similarities(taken, settings.similarity, settings.shrinkage, settings.neighbours)

    def scores(users: Integers) -> Floats:
        return np.asarray((tastes[users] @ similar).toarray(), dtype=np.float32)

    return scores


ITEM_NEIGHBOURS = Source("item_neighbours", _fit)
