"""Ranking metrics per user, shared by training, outcomes and evaluation. Needs no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float64, Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array


def recall_at_k(
    hits: Bool[BoolArray, "user rank"], relevant: Int64[Int64Array, " user"]
) -> Float64[Float64Array, " user"]:
    """Recall@k [user]: the hits over the number of relevant items, or over k if that is smaller.

    Args:
        hits: Whether [user, rank] a recommended item is relevant; k is the number of ranks.
        relevant: Number [user] of relevant items; 0 gives a recall of 0.

    >>> recall_at_k(np.array([[True, False]]), np.array([3])).tolist()
    [0.5]
    """
    possible = np.minimum(relevant, hits.shape[1])
    return np.asarray(hits.sum(axis=1) / np.maximum(possible, 1), dtype=np.float64)


def ndcg_at_k(
    hits: Bool[BoolArray, "user rank"], relevant: Int64[Int64Array, " user"]
) -> Float64[Float64Array, " user"]:
    """Normalised discounted cumulative gain [user] with binary gains (Järvelin & Kekäläinen 2002).

    A hit at rank r (from 1) has the gain 1 / log2(1 + r); the ideal ranking has all relevant items first.

    Args:
        hits: Whether [user, rank] a recommended item is relevant; k is the number of ranks.
        relevant: Number [user] of relevant items; 0 gives an NDCG of 0.

    >>> ndcg_at_k(np.array([[True, False]]), np.array([1])).tolist()
    [1.0]
    """
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discounts)))[np.minimum(relevant, hits.shape[1])]
    return np.asarray((hits @ discounts) / np.where(ideal > 0, ideal, 1), dtype=np.float64)


def top_k_columns(
    scores: npt.NDArray[np.floating], k: int
) -> tuple[Int64[Int64Array, "row rank"], npt.NDArray[np.floating]]:
    """Columns [row, rank] of the `k` largest `scores[row, column]`, best first, and their scores.

    Ties go to the lower column. With fewer than `k` columns there are as many ranks as columns.
    """
    k = min(k, scores.shape[1])
    if not k:
        return np.zeros((len(scores), 0), dtype=np.int64), scores[:, :0]
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(scores, best, axis=1)
    order = np.lexsort((best, -values), axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)


def auc(score: Float64[Float64Array, " case"], positive: Bool[BoolArray, " case"]) -> float | None:
    """Area under the ROC curve: the probability that a positive case scores above a negative one, ties counted half.

    None where one of the two is missing.

    >>> auc(np.array([0.1, 0.9]), np.array([False, True]))
    1.0
    """
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, score))
