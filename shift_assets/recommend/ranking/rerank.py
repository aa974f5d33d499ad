"""The order of a list beyond its scores: not all alike, in the mix of the user's interests, with room for the new.

Places are given one after the other. With relevance the discounted gain 1 / log2(1 + r) of the place r that an item
has by its score, so that it means the same whatever the blend, the next place goes to the item of the largest

    (1 - diversity - calibration) · relevance - diversity · likeness - calibration · divergence

where likeness is the largest cosine to an item that has a place already (maximal marginal relevance: Carbonell &
Goldstein, SIGIR 1998), and divergence the Kullback-Leibler divergence, in nats, of the list with the item from the
user's shares of categories (calibration: Steck, RecSys 2018). The last places are kept for new items where the list
has fewer of them than `fresh_places`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

RERANKED_CANDIDATES = 100
"""Best items by score that the places are given to."""
SMOOTHING = 0.01
"""Share of the user's mix in that of the list, so that a category without a place costs much but not without end."""


def fresh_items(window: Window, fresh_days: int) -> BoolArray:
    """Items [item] that nobody met before the last `fresh_days`."""
    known = window.items >= 0
    first = np.full(window.item_count, -1)
    np.maximum.at(first, window.items[known], window.ages[known])
    return np.asarray(first < fresh_days)


def rerank(
    items: Int64Array,
    *,
    vectors: Float32Array,
    categories: Int64Array,
    mix: Float32Array,
    fresh: BoolArray,
    settings: RecommendationSettings,
) -> Int64Array:
    """Places in `items` of the `settings.k` items of each list, in their order, [user, place]; -1: no item is left.

    `items` [user, candidate] are the best by score, best first, -1 where there is none. `vectors` [item, dimension] are
    of unit length or zero; `categories` [item] index the columns of `mix` [user, category], the user's shares of
    interest; `fresh` [item] marks the new.
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
        wanted = settings.fresh_places - n_fresh >= settings.k - position
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
    mix: Float32Array, counts: npt.NDArray[np.float64], positions: int, category: Int64Array
) -> npt.NDArray[np.float64]:
    """Divergence [user, candidate] of `positions` items, `counts[user, category]`, with the candidate added.

    Only the candidate's own category differs from a list in which nothing is added but the length.
    """
    shown = (1 - SMOOTHING) * counts / (positions + 1) + SMOOTHING * mix
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(mix > 0, mix * np.log(mix / shown), 0.0)
    row = np.arange(len(mix))[:, None]
    share = mix[row, category]
    added = shown[row, category] + (1 - SMOOTHING) / (positions + 1)
    own = np.where(share > 0, share * np.log(np.where(share > 0, share, 1) / added), 0.0)
    return np.asarray(terms.sum(axis=1)[:, None] - terms[row, category] + own, dtype=np.float64)
