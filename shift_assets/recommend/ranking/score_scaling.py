"""Scores of different generators on one scale."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from shift_assets.arrays import Float32Array


def scale_to_best(scores: Float32[Float32Array, "user item"]) -> Float32[Float32Array, "user item"]:
    """`scores[user, item]` divided by each user's largest; a user without a positive score keeps zeros.

    Example:
        >>> scale_to_best(np.array([[1.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
        [[0.25, 1.0], [0.0, 0.0]]
    """
    best = scores.max(axis=1, keepdims=True, initial=0)
    return np.asarray(scores / np.where(best > 0, best, 1), dtype=np.float32)
