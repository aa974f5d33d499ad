"""Initial item vectors: a factorisation of item transitions.

Factorising the decayed transition counts of a log takes seconds and gives most of what an item table learns in its
first epochs (sequential neighbours: Ludewig & Jannach 2018, arXiv 1803.09587; word vectors as a factorised matrix:
Levy & Goldberg 2014). Needs no torch.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.models.data.sequences import RETURN, Sequences

EVENTS_AHEAD = 5
EVENT_DECAY = 0.8
"""Weight of a pair of events relative to a pair with one event fewer between them."""
POWER_ITERATIONS = 4


def transition_similarity(sequences: Sequences, items: int) -> sparse.csr_matrix:
    """Symmetric transition counts [item code, item code] of events near each other in a sequence.

    Pairs of events at most EVENTS_AHEAD apart count with a decaying weight, divided by the square root of the product
    of both items' event counts. Returned and unknown items are left out.
    """
    codes: Int64Array = np.where(sequences.behaviors == RETURN, 0, sequences.items)
    owners = np.repeat(np.arange(len(sequences.lengths)), sequences.lengths)
    pairs = sparse.csr_matrix((items + 1, items + 1), dtype=np.float64)
    for ahead in range(1, EVENTS_AHEAD + 1):
        both = (owners[ahead:] == owners[:-ahead]) & (codes[ahead:] > 0) & (codes[:-ahead] > 0)
        weights = np.full(int(both.sum()), EVENT_DECAY ** (ahead - 1))
        pairs = pairs + sparse.csr_matrix((weights, (codes[:-ahead][both], codes[ahead:][both])), shape=pairs.shape)
    counts = np.maximum(np.bincount(codes, minlength=items + 1), 1)
    scale = sparse.diags(1 / np.sqrt(counts))
    pairs.setdiag(0)
    return sparse.csr_matrix(scale @ (pairs + pairs.T) @ scale)


def transition_vectors(sequences: Sequences, items: int, dimensions: int, seed: int) -> Float32Array:
    """Unit vectors [item code, dimension] whose products approximate `transition_similarity`.

    Unnormalised, popular items would be the nearest ones of every item. Rows of items without transitions, and
    dimensions beyond the rank, are zero.
    """
    from sklearn.utils.extmath import randomized_svd

    similarity = transition_similarity(sequences, items)
    rank = min(dimensions, items)
    vectors = np.zeros((items + 1, dimensions), dtype=np.float32)
    if not similarity.nnz:
        return vectors
    left, sizes, right = randomized_svd(similarity, rank, n_iter=POWER_ITERATIONS, random_state=seed)
    # Singular vectors of opposite sign belong to a negative eigenvalue, which no product of real vectors can give.
    positive = (left * right.T).sum(axis=0) > 0
    vectors[:, :rank] = left * np.sqrt(sizes * positive)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
