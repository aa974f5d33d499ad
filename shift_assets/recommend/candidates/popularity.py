"""Popularity of the last days: the same for everyone, and all there is for a user of whom nothing is known."""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs
from shift_assets.recommend.window import Window


def popularity(window: Window, days: int) -> Float32Array:
    """Distinct users [item] who took the item within `days`."""
    recent = (window.ages < days) & ~window.returned
    pairs = np.unique(window.owners[recent] * window.item_count + window.items[recent])
    return np.bincount(pairs % max(window.item_count, 1), minlength=window.item_count).astype(np.float32)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    counts = popularity(inputs.window, inputs.settings.popularity_days)

    def scores(users: Int64Array) -> Float32Array:
        return np.broadcast_to(counts, (len(users), len(counts)))

    return lambda _window: scores


POPULARITY = CandidateGenerator("popularity", _fit)
