"""Item-item collaborative filtering: what goes with the items that the user took.

Similarity of the columns of the binary user × item matrix (Sarwar et al. 2001), shrunk towards 0 where few users
support it (Koren 2008): cosine n_ij / (sqrt(n_i n_j) + shrinkage), or Pearson with the columns centred. An item is
no neighbour of its own; that a user takes an item again is the business of `repeats`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy import sparse

from shift_assets.models.sequences import Integers, flat_ranges
from shift_assets.recommend.source import Fitted, Inputs, Scorer, Source
from shift_assets.recommend.window import Floats, Window

BLOCK_VALUES = 2**21
"""Similarities held at once, before the strongest are chosen: some 30 MiB."""
DENSE_FROM = 0.1
"""Share of non-zeros above which the strongest of a block are sought in a dense copy, several times faster there."""
TASTE_CAP = 2.0


def tastes(window: Window, half_life_days: float) -> sparse.csr_matrix:
    """Taste [user, item]: the user's events of the item, each halved per `half_life_days`, at most TASTE_CAP."""
    found = window.user_items(np.exp2(-window.ages / half_life_days))
    found.data = np.minimum(found.data, TASTE_CAP)
    return found


def item_similarities(
    taken: sparse.csr_matrix, similarity: Literal["cosine", "pearson"], shrinkage: float, neighbours: int
) -> sparse.csr_matrix:
    """The `neighbours` most similar items of every item, [item, neighbour item], from binary `taken[user, item]`.

    Only positive similarities are kept. Rows are worked through in blocks: no items × items matrix is ever dense.
    """
    users = taken.shape[0]
    columns = taken.T.tocsr()
    support = np.asarray(taken.sum(axis=0), dtype=np.float32).ravel()
    mean = support / max(users, 1)
    norm = np.sqrt(support * (1 - mean) if similarity == "pearson" else support)

    def similarity_of(block: sparse.csr_matrix, rows: Integers) -> None:
        row = rows[np.repeat(np.arange(len(rows)), np.diff(block.indptr))]
        both = block.data
        if similarity == "pearson":
            both = both - support[row] * mean[block.indices]
        block.data = both / np.maximum(norm[row] * norm[block.indices] + shrinkage, np.finfo(np.float32).tiny)
        block.data[block.indices == row] = 0

    return strongest(columns, taken, neighbours, similarity_of)


def strongest(
    left: sparse.csr_matrix,
    right: sparse.csr_matrix,
    kept: int,
    weigh: Callable[[sparse.csr_matrix, Integers], None],
) -> sparse.csr_matrix:
    """The `kept` largest positive values of every row of `left` @ `right`, after `weigh` changed them.

    The product is made in blocks of rows of at most BLOCK_VALUES entries (more only where a single row has more).
    `weigh` gets a block, whose data it changes in place, and the numbers of its rows; it cannot make a zero
    positive.
    """
    entries = np.cumsum(np.minimum((left != 0).astype(np.int64) @ np.diff(right.indptr), right.shape[1]))
    borders = np.flatnonzero(np.diff(entries // BLOCK_VALUES, prepend=0))
    parts = []
    for rows in np.split(np.arange(left.shape[0]), borders):
        if len(rows):
            block = left[rows] @ right
            weigh(block, rows)
            parts.append(largest(block, kept))
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, right.shape[1]), dtype=np.float32)


def largest(block: sparse.csr_matrix, kept: int) -> sparse.csr_matrix:
    """The `kept` largest positive values of every row of `block`; of equal ones those of lower columns."""
    kept = min(kept, block.shape[1])
    block.data[block.data < 0] = 0
    block.eliminate_zeros()
    if np.diff(block.indptr).max(initial=0) <= kept:
        return block
    if block.nnz > DENSE_FROM * block.shape[0] * block.shape[1]:
        floor = -np.partition(-block.toarray(), kept - 1, axis=1)[:, kept - 1]
        block.data[block.data < np.repeat(floor, np.diff(block.indptr))] = 0
        block.eliminate_zeros()
    counts = np.diff(block.indptr)
    overfull = np.flatnonzero(counts > kept)
    row, entry = flat_ranges(block.indptr[overfull].astype(np.int64), block.indptr[overfull + 1].astype(np.int64))
    ranked = entry[np.lexsort((block.indices[entry], -block.data[entry], row))]
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts[overfull]) - counts[overfull], counts[overfull])
    block.data[ranked[place >= kept]] = 0
    block.eliminate_zeros()
    return block


def _fit(inputs: Inputs) -> Fitted:
    settings = inputs.settings

    taken = tastes(inputs.window, settings.half_life_days)
    taken.data = np.ones_like(taken.data)
    similar = item_similarities(taken, settings.similarity, settings.shrinkage, settings.neighbours)

    def scorer(window: Window) -> Scorer:
        own = tastes(window, settings.half_life_days)

        def scores(users: Integers) -> Floats:
            return np.asarray((own[users] @ similar).toarray(), dtype=np.float32)

        return scores

    return scorer


ITEM_NEIGHBOURS = Source("item_neighbours", _fit)
