"""Content-based candidates: items similar in text, category and price to those that the user interacted with.

It is how an item that nobody has taken yet is recommended. An item is described by the terms of its text, its
category and its price level, weighted by TF-IDF and reduced by a truncated singular value decomposition (Deerwester et
al., JASIS 41, 1990); or by vectors of an external model. A user is the decayed sum of the vectors of its items; the
score is the cosine times `popularity_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.interactions import decayed_interactions
from shift_assets.recommend.candidates.item_content import cosine_scores
from shift_assets.recommend.candidates.popularity import popularity_weight
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of content-based candidates."""

    half_life_days: float
    """Days in which an interaction loses half its weight."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(half_life_days=settings.half_life_days)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    if inputs.content is None:
        raise ValueError("the content generator needs the items' content")
    vectors, config = inputs.content.vectors, Config.of(inputs.settings)
    item_weight = popularity_weight(inputs.window)

    def scorer(window: Window) -> Scorer:
        own = decayed_interactions(window, config.half_life_days)

        def scores(users: Int64Array) -> Float32Array:
            return cosine_scores(np.asarray(own[users] @ vectors, dtype=np.float32), vectors) * item_weight

        return scores

    return scorer


CONTENT = CandidateGenerator(
    "content", _fit, {"en": "Similar to items taken before", "zh": "与曾经选购的商品相似"}, needs=("content",)
)
