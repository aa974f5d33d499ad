"""EASE, a linear autoencoder: every item predicted from all the others at once.

Steck, WWW 2019 (arXiv 1905.03375): the item × item weights B with a zero diagonal that minimise
|X - XB|² + λ|B|², in closed form from the inverse of XᵀX + λI. Unlike cosine neighbours, which compare pairs, it
accounts for items that explain each other. The inverse is dense, so it covers only the items with the most users, up
to `ease_items`: 8,000 take 256 MiB, three times that during the fit, which takes 9 CPU-seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.interactions import decayed_interactions
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

MINIMUM_USERS = 2
"""Nobody else's choices predict an item of a single user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Parameters of EASE."""

    items: int = 8_000
    """Items covered, those with the most users."""
    regularisation: float = 100.0
    """Penalty λ on the squared weights."""
    half_life_days: float
    """Days in which an interaction of the scored history loses half its weight."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(half_life_days=settings.half_life_days)


def ease_weights(taken: sparse.csr_matrix, regularisation: float) -> Float32[Float32Array, "item item"]:
    """Weights [item, predicted item] with a zero diagonal, from binary `taken[user, item]` and the penalty λ."""
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
    # Only the lower half is filled; adding its transpose doubles the diagonal.
    inverse += inverse.T
    inverse /= -np.diag(inverse).copy() / 2
    np.fill_diagonal(inverse, 0)
    return np.ascontiguousarray(inverse, dtype=np.float32)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    config = Config.of(inputs.settings)
    taken = decayed_interactions(inputs.window, config.half_life_days).sign()
    support = np.asarray(taken.sum(axis=0)).ravel()
    order = np.argsort(-support, kind="stable")[: config.items]
    held = np.sort(order[support[order] >= MINIMUM_USERS])
    weights = ease_weights(taken[:, held], config.regularisation)

    def scorer(window: Window) -> Scorer:
        own = decayed_interactions(window, config.half_life_days)[:, held]

        def scores(users: Int64Array) -> Float32Array:
            out = np.zeros((len(users), window.item_count), dtype=np.float32)
            out[:, held] = np.maximum(own[users] @ weights, 0)
            return out

        return scores

    return scorer


EASE = CandidateGenerator("autoencoder", _fit, {"en": "Fits the whole of past choices", "zh": "符合以往选择的整体特点"})
