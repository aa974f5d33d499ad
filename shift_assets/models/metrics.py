"""How good ranked lists are, per user. No torch: training and the evaluation of outcomes share these two."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import Float64Array


def recall_at_k(hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.int64]) -> Float64Array:
    """Share [user] of the `relevant[user]` items (at most k counted) that `hits[user, place]` found.

    k is the number of places. A user without relevant items has recall 0.
    """
    possible = np.minimum(relevant, hits.shape[1])
    return np.asarray(hits.sum(axis=1) / np.maximum(possible, 1), dtype=np.float64)


def ndcg_at_k(hits: npt.NDArray[np.bool_], relevant: npt.NDArray[np.int64]) -> Float64Array:
    """Normalised discounted cumulative gain [user] with gains 0 and 1 (Järvelin & Kekäläinen 2002).

    A hit at place r (from 1) is worth 1 / log2(1 + r); the ideal list has all relevant items first.
    """
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discounts)))[np.minimum(relevant, hits.shape[1])]
    return np.asarray((hits @ discounts) / np.where(ideal > 0, ideal, 1), dtype=np.float64)


def top_k_columns(scores: npt.NDArray[np.floating], k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Columns [row, place] of the largest `scores[row, column]`, best first, and their scores; of equals the lower.

    Rows have as many places as there are columns, but no more than `k`.
    """
    k = min(k, scores.shape[1])
    if not k:
        return np.zeros((len(scores), 0), dtype=np.int64), scores[:, :0]
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(scores, best, axis=1)
    order = np.lexsort((best, -values), axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)


def auc(score: Float64Array, positive: npt.NDArray[np.bool_]) -> float | None:
    """Probability that a positive case scores above another one, ties half; None where one of the two is missing."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, score))
