"""Greedy re-ranking of a slate: diversity, calibration to the user's categories, and ranks for new items.

Ranks are filled one after the other. With relevance the discounted gain 1 / log2(1 + r) of the item's rank r by score,
so that it means the same for every blend, the next rank goes to the item with the largest

    (1 - diversity - calibration) · relevance - diversity · similarity - calibration · divergence

where similarity is the largest cosine to an item chosen before (maximal marginal relevance: Carbonell & Goldstein,
SIGIR 1998), and divergence the Kullback-Leibler divergence, in nats, of the slate with the item from the user's shares
of categories (calibration: Steck, RecSys 2018). The last ranks are reserved for new items where the slate has fewer of
them than `fresh_slots`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

RERANKED_CANDIDATES = 100
"""Best items by score that are re-ranked."""
SMOOTHING = 0.01
"""Share of the user's categories mixed into those of the slate, so that a missing category costs a finite amount."""


def fresh_items(window: Window, fresh_days: int) -> Bool[BoolArray, " item"]:
    """Items [item] without an event before the last `fresh_days`."""
    known = window.items >= 0
    first = np.full(window.item_count, -1)
    np.maximum.at(first, window.items[known], window.ages[known])
    return np.asarray(first < fresh_days)


def rerank(
    items: Int64[Int64Array, "user candidate"],
    *,
    vectors: Float32[Float32Array, "item dimension"],
    categories: Int64[Int64Array, " item"],
    mix: Float32[Float32Array, "user category"],
    fresh: Bool[BoolArray, " item"],
    settings: RecommendationSettings,
) -> Int64[Int64Array, "user rank"]:
    """Choose and order `settings.k` of the candidates for each user.

    Args:
        items: The best items by score, best first, -1 where there is none, [user, candidate].
        vectors: Vectors of unit length or zero, [item, dimension].
        categories: Column of `mix`, [item].
        mix: The user's shares of interest, [user, category].
        fresh: Whether the item is new, [item].
        settings: Weights of diversity and calibration, and ranks for new items.

    Returns:
        Index of the chosen candidate, -1 where none is left, [user, rank].
    """
    users, width = items.shape
    valid = items >= 0
    relevance = 1 / np.log2(np.arange(2, width + 2))
    own, category, new = vectors[items], categories[items], fresh[items] & valid
    chosen = np.full((users, settings.k), -1)
    similarity = np.zeros(items.shape)
    counts = np.zeros(mix.shape)
    free, row = valid.copy(), np.arange(users)
    n_fresh = np.zeros(users, dtype=np.int64)
    for position in range(min(settings.k, width)):
        value = (1 - settings.diversity - settings.calibration) * np.broadcast_to(relevance, items.shape)
        if settings.diversity:
            value = value - settings.diversity * similarity
        if settings.calibration:
            value = value - settings.calibration * _divergence(mix, counts, position, category)
        wanted = settings.fresh_slots - n_fresh >= settings.k - position
        only_new = wanted[:, None] & (new & free).any(axis=1, keepdims=True)
        best = np.where(free & (new | ~only_new), value, -np.inf).argmax(axis=1)
        filled = free[row, best]
        chosen[filled, position] = best[filled]
        free[row, best] = False
        n_fresh += filled & new[row, best]
        counts[row[filled], category[filled, best[filled]]] += 1
        if settings.diversity:
            similarity = np.maximum(similarity, np.einsum("ucd,ud->uc", own, own[row, best]))
    return chosen


def _divergence(
    mix: Float32[Float32Array, "user category"],
    counts: Float64[Float64Array, "user category"],
    positions: int,
    category: Int64[Int64Array, "user candidate"],
) -> Float64[Float64Array, "user candidate"]:
    """Divergence [user, candidate] of `positions` items, `counts[user, category]`, with the candidate added.

    Adding a candidate changes the term of its own category only, apart from the length.
    """
    shown = (1 - SMOOTHING) * counts / (positions + 1) + SMOOTHING * mix
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(mix > 0, mix * np.log(mix / shown), 0.0)
    row = np.arange(len(mix))[:, None]
    share = mix[row, category]
    added = shown[row, category] + (1 - SMOOTHING) / (positions + 1)
    own = np.where(share > 0, share * np.log(np.where(share > 0, share, 1) / added), 0.0)
    return np.asarray(terms.sum(axis=1)[:, None] - terms[row, category] + own, dtype=np.float64)
