"""Popularity of the last days: the same for everyone, and all there is for a user without a history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

WEIGHT_DAYS = 28
"""Days behind `popularity_weight`: among items of equal similarity, those that nobody takes are mostly dead stock."""


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of popularity."""

    days: int
    """Days whose users are counted."""

    @classmethod
    def of(cls, settings: RecommendationSettings) -> Config:
        return cls(days=settings.popularity_days)


def popularity(window: Window, days: int) -> Float32[Float32Array, " item"]:
    """Distinct users [item] who interacted with the item, other than by a return, within `days`."""
    recent = (window.ages < days) & ~window.returned
    pairs = np.unique(window.owners[recent] * window.item_count + window.items[recent])
    return np.bincount(pairs % max(window.item_count, 1), minlength=window.item_count).astype(np.float32)


def popularity_weight(window: Window) -> Float32[Float32Array, " item"]:
    """Factor [item] of a cosine similarity: sqrt(log(2 + users of the last WEIGHT_DAYS))."""
    return np.sqrt(np.log(2 + popularity(window, WEIGHT_DAYS)), dtype=np.float32)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    counts = popularity(inputs.window, Config.of(inputs.settings).days)

    def scores(users: Int64Array) -> Float32Array:
        return np.broadcast_to(counts, (len(users), len(counts)))

    return lambda _window: scores


POPULARITY = CandidateGenerator("popularity", _fit, {"en": "Popular in the last days", "zh": "近日热门"})
