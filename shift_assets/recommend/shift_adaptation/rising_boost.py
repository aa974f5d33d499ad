"""Boost of the categories that rise in a user's open alert.

With the user's scores in 0..1, and r the weight of rising interests:

    score = (1 - r) · score + r · gain(category) · score / best score among the rising categories

where gain is the category's gained share over the largest gained share. The best item of the category that rose most
gains r, and no item outside the rising categories overtakes one inside.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from shift_assets.arrays import Float32Array


def boost_rising(
    blended: Float32[Float32Array, "user item"],
    gains: Float32[Float32Array, "user item"],
    rising_weight: float | Float32[Float32Array, "user 1"],
) -> Float32[Float32Array, "user item"]:
    """Boost items with a positive gain; rows without any stay as they are.

    Args:
        blended: Scores in 0..1, [user, item].
        gains: Gain in 0..1 of the item's category, [user, item].
        rising_weight: Weight r in 0..1, one for all or [user, 1].
    """
    rising = np.where(gains > 0, blended, 0)
    best = rising.max(axis=1, keepdims=True, initial=0)
    boosted = (1 - rising_weight) * blended + rising_weight * gains * rising / np.where(best > 0, best, 1)
    return np.asarray(np.where(best > 0, boosted, blended), dtype=np.float32)
