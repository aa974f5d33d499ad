"""Matrix factorisation by alternating least squares: users and items as short vectors, a score is their product.

For implicit feedback (Hu, Koren & Volinsky, ICDM 2008): an observed entry has confidence 1 + CONFIDENCE times its
interaction weight, every other one confidence 1 and target 0. Only the item vectors are stored: a user's vector is
solved for from the history that is scored, so new histories and new users need no new fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.interactions import decayed_interactions
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares
    from pyspark.sql import SparkSession

FACTORS = 64
"""Length of the vectors."""
CONFIDENCE = 3.0
REGULARISATION = 2.0
ITERATIONS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Parameters of the factorisation."""

    factors: int = 64
    """Length of the vectors."""
    half_life_days: float
    """Days in which an interaction loses half its weight."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(half_life_days=settings.half_life_days)


Factoriser = Callable[[sparse.csr_matrix, int, int], Float32Array]
"""`(confidence[user, item] above 1, factors, seed) -> vectors [item, factor]`."""


def factorise_in_process(
    confidence: sparse.csr_matrix, factors: int, seed: int
) -> Float32[Float32Array, "item factor"]:
    """Fit the item vectors [item, factor] in this process, on one thread: the order of sums decides the last bits."""
    from threadpoolctl import threadpool_limits

    model = _solver(factors, seed)
    with threadpool_limits(limits=1, user_api="blas"):
        model.fit(confidence, show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class SparkFactoriser:
    """Fits the item vectors with Spark MLlib, for logs too large for one process."""

    session: SparkSession

    def __call__(self, confidence: sparse.csr_matrix, factors: int, seed: int) -> Float32Array:
        import pyarrow as pa
        from pyspark.ml.recommendation import ALS

        entries = confidence.tocoo()
        rows = pa.table(
            {
                "user": entries.row.astype(np.int32),
                "item": entries.col.astype(np.int32),
                "rating": entries.data.astype(np.float32),
            }
        )
        als = ALS(
            rank=factors,
            maxIter=ITERATIONS,
            # MLlib multiplies the penalty by the entries of a user; the other engine does not.
            regParam=REGULARISATION / max(confidence.nnz / max(confidence.shape[0], 1), 1),
            implicitPrefs=True,
            alpha=1.0,
            userCol="user",
            itemCol="item",
            ratingCol="rating",
            seed=seed,
        )
        found = als.fit(self.session.createDataFrame(rows)).itemFactors.toArrow()
        vectors = np.zeros((confidence.shape[1], factors), dtype=np.float32)
        vectors[found["id"].to_numpy()] = found["features"].combine_chunks().flatten().to_numpy().reshape(-1, factors)
        return vectors


def fold_in(
    vectors: Float32[Float32Array, "item factor"], confidence: sparse.csr_matrix
) -> Float32[Float32Array, "user factor"]:
    """Solve for the user vectors [user, factor] given the items' `vectors` [item, factor].

    Args:
        vectors: Item vectors of a fit.
        confidence: Confidence above 1 of every observed entry, [user, item].
    """
    from threadpoolctl import threadpool_limits

    model = _solver(vectors.shape[1], seed=0)
    model.item_factors = vectors
    with threadpool_limits(limits=1, user_api="blas"):
        found = model.recalculate_user(np.arange(confidence.shape[0]), confidence)
    return np.asarray(found, dtype=np.float32)


def _solver(factors: int, seed: int) -> AlternatingLeastSquares:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        return AlternatingLeastSquares(
            factors=factors,
            regularization=REGULARISATION,
            iterations=ITERATIONS,
            num_threads=1,
            random_state=seed,
        )


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    config = Config.of(inputs.settings)

    def confidence_of(window: Window) -> sparse.csr_matrix:
        return (decayed_interactions(window, config.half_life_days) * CONFIDENCE).tocsr()

    factorise = SparkFactoriser(inputs.session) if inputs.session is not None else factorise_in_process
    vectors = factorise(confidence_of(inputs.window), config.factors, inputs.seed)

    def scorer(window: Window) -> Scorer:
        confidence = confidence_of(window)

        def scores(users: Int64Array) -> Float32Array:
            return np.asarray(np.maximum(fold_in(vectors, confidence[users]) @ vectors.T, 0), dtype=np.float32)

        return scores

    return scorer


IMPLICIT_ALS = CandidateGenerator(
    "factorisation", _fit, {"en": "Fits the taste behind past choices", "zh": "符合以往选择体现的品味"}
)
