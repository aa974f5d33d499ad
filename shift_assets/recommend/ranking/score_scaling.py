"""Scores of different generators on one scale."""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float32Array


def scale_to_best(scores: Float32Array) -> Float32Array:
    """`scores[user, item]` over each user's largest; a user without a positive score keeps zeros."""
    best = scores.max(axis=1, keepdims=True, initial=0)
    return np.asarray(scores / np.where(best > 0, best, 1), dtype=np.float32)
