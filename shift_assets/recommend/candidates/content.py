"""What items are like, and items like those that the user took: the way to a list for an item that nobody took yet.

An item is described by the terms of its text, its category and its price level, weighted by TF-IDF and brought to
`DIMENSIONS` by a truncated singular value decomposition (Deerwester et al., JASIS 41, 1990); or by vectors that
another model made of it. A user is the decayed sum of the vectors of what it took; the score is the cosine, times
sqrt(log(2 + users who took the item lately)).
"""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.interactions import decayed_interactions
from shift_assets.recommend.candidates.item_content import cosine_scores
from shift_assets.recommend.candidates.popularity import popularity
from shift_assets.recommend.window import Window

POPULAR_DAYS = 28
"""Days of the popularity that tells apart items equally alike: what is alike and never taken is mostly dead stock."""


def popularity_weight(window: Window) -> Float32Array:
    """What a cosine is multiplied by, [item]: sqrt(log(2 + users who took the item lately))."""
    return np.sqrt(np.log(2 + popularity(window, POPULAR_DAYS)), dtype=np.float32)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    if inputs.content is None:
        raise ValueError("the content source needs the items' content")
    vectors, half_life = inputs.content.vectors, inputs.settings.half_life_days
    known = popularity_weight(inputs.window)

    def scorer(window: Window) -> Scorer:
        own = decayed_interactions(window, half_life)

        def scores(users: Int64Array) -> Float32Array:
            return cosine_scores(np.asarray(own[users] @ vectors, dtype=np.float32), vectors) * known

        return scores

    return scorer


CONTENT = CandidateGenerator("content", _fit, needs=("content",))
