"""A linear autoencoder: every item foretold from all the others at once.

EASE (Steck, WWW 2019, arXiv 1905.03375): the item × item weights B with a zero diagonal that minimise
|X - XB|² + λ|B|², in closed form from the inverse of XᵀX + λI. Unlike cosine neighbours, which look at pairs, it
knows that an item is explained already by another one. The inverse is dense, so it is made for the items of most
users up to `ease_items`: 8,000 hold 256 MiB, three times that while they are fitted, which takes 9 CPU-seconds.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.interactions import decayed_interactions
from shift_assets.recommend.window import Window

MINIMUM_USERS = 2
"""An item of a single user is foretold by nobody else's."""


def ease_weights(taken: sparse.csr_matrix, regularisation: float) -> Float32Array:
    """Weights [item, foretold item] of EASE from `taken[user, item]`; the diagonal is 0."""
    from scipy.linalg import cholesky, lapack
    from threadpoolctl import threadpool_limits

    gram: Float32Array = (taken.T @ taken).toarray().astype(np.float32)
    if not gram.size:
        return gram
    gram[np.diag_indices_from(gram)] += regularisation
    with threadpool_limits(limits=1, user_api="blas"):
        # Inverse of a positive definite matrix in place: half the memory and a third of the time of a general one.
        factor = cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)
        inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    # Only the lower half is filled; with its mirror the diagonal is there twice.
    inverse += inverse.T
    inverse /= -np.diag(inverse).copy() / 2
    np.fill_diagonal(inverse, 0)
    return np.ascontiguousarray(inverse, dtype=np.float32)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    settings = inputs.settings
    taken = decayed_interactions(inputs.window, settings.half_life_days).sign()
    support = np.asarray(taken.sum(axis=0)).ravel()
    order = np.argsort(-support, kind="stable")[: settings.ease_items]
    held = np.sort(order[support[order] >= MINIMUM_USERS])
    weights = ease_weights(taken[:, held], settings.ease_regularisation)

    def scorer(window: Window) -> Scorer:
        own = decayed_interactions(window, settings.half_life_days)[:, held]

        def scores(users: Int64Array) -> Float32Array:
            out = np.zeros((len(users), window.item_count), dtype=np.float32)
            out[:, held] = np.maximum(own[users] @ weights, 0)
            return out

        return scores

    return scorer


EASE = CandidateGenerator("autoencoder", _fit)
