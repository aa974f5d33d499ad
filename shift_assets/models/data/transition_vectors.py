"""Item vectors before training: what follows what, in so many dimensions.

A factorisation of the decayed transition counts of the log takes seconds and holds most of what an item table learns
in its first epochs (sequential neighbours: Ludewig & Jannach 2018, arXiv 1803.09587; word vectors as a factorised
matrix: Levy & Goldberg 2014). Needs no torch.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.models.data.sequences import RETURN, Sequences

EVENTS_AHEAD = 5
EVENT_DECAY = 0.8
"""Weight of a pair of events relative to a pair with one event less between them."""
POWER_ITERATIONS = 4


def transition_similarity(sequences: Sequences, items: int) -> sparse.csr_matrix:
    """How often the items of two codes stand near each other in a sequence, [item code, item code], symmetric.

    Pairs at most EVENTS_AHEAD events apart count, decayed, over the square root of both items' counts. Returned and
    unknown items count nothing.
    """
    codes: Int64Array = np.where(sequences.behaviors == RETURN, 0, sequences.items)
    owners = np.repeat(np.arange(len(sequences.lengths)), sequences.lengths)
    pairs = sparse.csr_matrix((items + 1, items + 1), dtype=np.float64)
    for ahead in range(1, EVENTS_AHEAD + 1):
        kept = (owners[ahead:] == owners[:-ahead]) & (codes[ahead:] > 0) & (codes[:-ahead] > 0)
        weights = np.full(int(kept.sum()), EVENT_DECAY ** (ahead - 1))
        pairs = pairs + sparse.csr_matrix((weights, (codes[:-ahead][kept], codes[ahead:][kept])), shape=pairs.shape)
    counts = np.maximum(np.bincount(codes, minlength=items + 1), 1)
    scale = sparse.diags(1 / np.sqrt(counts))
    pairs.setdiag(0)
    return sparse.csr_matrix(scale @ (pairs + pairs.T) @ scale)


def transition_vectors(sequences: Sequences, items: int, dimensions: int, seed: int) -> Float32Array:
    """Vectors [item code, dimension] whose products tell `transition_similarity`, each of length 1.

    Without the lengths popular items would fill every list. Rows of items without transitions, and dimensions beyond
    the rank, are zero.
    """
    from sklearn.utils.extmath import randomized_svd

    similarity = transition_similarity(sequences, items)
    kept = min(dimensions, items)
    vectors = np.zeros((items + 1, dimensions), dtype=np.float32)
    if not similarity.nnz:
        return vectors
    left, sizes, right = randomized_svd(similarity, kept, n_iter=POWER_ITERATIONS, random_state=seed)
    # Of a symmetric matrix, singular vectors of opposite signs belong to a negative eigenvalue: no product gives it.
    positive = (left * right.T).sum(axis=0) > 0
    vectors[:, :kept] = left * np.sqrt(sizes * positive)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
