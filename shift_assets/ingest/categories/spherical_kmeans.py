"""Spherical k-means."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64

from shift_assets.arrays import Float32Array, Float64Array, FloatArray

KMEANS_STARTS = 10


def spherical_kmeans(
    points: Float64[Float64Array, "point dimension"],
    clusters: int,
    seed: int,
    events: Float64[Float64Array, " point"] | None = None,
) -> Float32[Float32Array, "category dimension"]:
    """Return the centres, of unit length, of the best of KMEANS_STARTS runs of k-means on the sphere.

    Weighting by events makes groups similar in size by events: on UserBehavior the largest of 40 has 9 % of the
    events instead of 39 %. Text categories gain nothing from it.

    Args:
        points: Points of unit length.
        clusters: Number of centres; fewer if fewer points differ.
        seed: Seed of the starting centres.
        events: Weight of each point; None: equal weights.
    """
    from sklearn.cluster import KMeans

    distinct = len(np.unique(points.round(6), axis=0))
    model = KMeans(min(clusters, distinct), n_init=KMEANS_STARTS, random_state=seed).fit(points, sample_weight=events)
    return unit_rows(model.cluster_centers_).astype(np.float32)


def unit_rows(points: Float[FloatArray, "point dimension"]) -> Float64[Float64Array, "point dimension"]:
    """Scale rows to unit length; a row of zeros stays zero."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(lengths > 0, lengths, 1)
