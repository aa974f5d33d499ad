"""The top k of every row of a product of sparse matrices, in blocks that bound the memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from shift_assets.arrays import Int64Array
from shift_assets.models.data.sequences import flat_ranges

BLOCK_VALUES = 2**21
"""Similarities held at once, before the strongest are chosen: some 30 MiB."""
DENSE_FROM = 0.1
"""Share of non-zeros above which the top k are chosen in a dense copy, several times faster there."""


def top_k_product(
    left: sparse.csr_matrix,
    right: sparse.csr_matrix,
    top_k: int,
    weigh: Callable[[sparse.csr_matrix, Int64Array], None],
) -> sparse.csr_matrix:
    """The `top_k` largest positive values of every row of `left` @ `right`, re-weighted by `weigh`.

    The product is computed in blocks of rows of at most BLOCK_VALUES entries (more only where a single row has more).

    Args:
        left: [row, inner].
        right: [inner, column].
        top_k: Values per row of the result.
        weigh: Called with a block, whose data it changes in place, and the numbers of its rows. It must not make a
            zero positive.
    """
    entries = np.cumsum(np.minimum((left != 0).astype(np.int64) @ np.diff(right.indptr), right.shape[1]))
    borders = np.flatnonzero(np.diff(entries // BLOCK_VALUES, prepend=0))
    parts = []
    for rows in np.split(np.arange(left.shape[0]), borders):
        if len(rows):
            block = left[rows] @ right
            weigh(block, rows)
            parts.append(top_k_per_row(block, top_k))
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, right.shape[1]), dtype=np.float32)


def top_k_per_row(block: sparse.csr_matrix, top_k: int) -> sparse.csr_matrix:
    """The `top_k` largest positive values of every row of `block`; ties go to the lower column. Changes `block`.

    Example:
        >>> top_k_per_row(sparse.csr_matrix([[0.2, 0.5, 0.1]]), 2).toarray().tolist()
        [[0.2, 0.5, 0.0]]
    """
    top_k = min(top_k, block.shape[1])
    block.data[block.data < 0] = 0
    block.eliminate_zeros()
    if np.diff(block.indptr).max(initial=0) <= top_k:
        return block
    if block.nnz > DENSE_FROM * block.shape[0] * block.shape[1]:
        floor = -np.partition(-block.toarray(), top_k - 1, axis=1)[:, top_k - 1]
        block.data[block.data < np.repeat(floor, np.diff(block.indptr))] = 0
        block.eliminate_zeros()
    counts = np.diff(block.indptr)
    overfull = np.flatnonzero(counts > top_k)
    row, entry = flat_ranges(block.indptr[overfull].astype(np.int64), block.indptr[overfull + 1].astype(np.int64))
    ranked = entry[np.lexsort((block.indices[entry], -block.data[entry], row))]
    position = np.arange(len(row)) - np.repeat(np.cumsum(counts[overfull]) - counts[overfull], counts[overfull])
    block.data[ranked[position >= top_k]] = 0
    block.eliminate_zeros()
    return block
