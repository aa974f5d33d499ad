"""Repeat consumption, the user's own items again: the strongest single generator in logs of repeat purchases.

Score = sum over the user's events of the item of 2^(-age / half-life), capped at `REPEAT_CAP` so that many rows for
one item in one order do not fill the scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

REPEAT_CAP = 4.0


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of repeat consumption."""

    half_life_days: float
    """Days in which an event loses half its weight."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(half_life_days=settings.half_life_days)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    config = Config.of(inputs.settings)

    def scorer(window: Window) -> Scorer:
        taken = window.user_items(np.exp2(-window.ages / config.half_life_days))
        taken.data = np.minimum(taken.data, REPEAT_CAP)

        def scores(users: Int64Array) -> Float32Array:
            return np.asarray(taken[users].toarray(), dtype=np.float32)

        return scores

    return scorer


REPEAT_CONSUMPTION = CandidateGenerator(
    "repeats", _fit, {"en": "Taken before, due again", "zh": "曾经选购，适合再次选购"}
)
