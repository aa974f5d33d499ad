"""The user's own items, again: in logs of repeat purchase the strongest single source.

Score = sum over the user's events of the item of 2^(-age / half-life), capped at `REPEAT_CAP` so that a bulk of
rows for one item in one order does not fill the list's scale.
"""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.window import Window

REPEAT_CAP = 4.0


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    half_life = inputs.settings.half_life_days

    def scorer(window: Window) -> Scorer:
        taken = window.user_items(np.exp2(-window.ages / half_life))
        taken.data = np.minimum(taken.data, REPEAT_CAP)

        def scores(users: Int64Array) -> Float32Array:
            return np.asarray(taken[users].toarray(), dtype=np.float32)

        return scores

    return scorer


REPEAT_CONSUMPTION = CandidateGenerator("repeats", _fit)
