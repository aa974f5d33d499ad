"""Scores on one scale, and the pull of a user's list towards what rises.

A source's scores of a user are divided by the user's best, so that they lie in 0..1; so are those of a blend. For a
user with an open alarm, with r = rising_weight:

    score = (1 - r) · blend + r · gain(category) · blend / best blend among the rising categories

where gain is the category's gained share over the largest gained share. The best item of the category that rose
most is pulled by r, and no item outside the rising categories overtakes one inside.
"""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float32Array


def boost_rising(blended: Float32Array, gains: Float32Array, rising_weight: float | Float32Array) -> Float32Array:
    """`blended[user, item]` pulled towards items with `gains[user, item]` in 0..1; rows without gain stay.

    `rising_weight` is one for all or [user, 1].
    """
    rising = np.where(gains > 0, blended, 0)
    best = rising.max(axis=1, keepdims=True, initial=0)
    pulled = (1 - rising_weight) * blended + rising_weight * gains * rising / np.where(best > 0, best, 1)
    return np.asarray(np.where(best > 0, pulled, blended), dtype=np.float32)
