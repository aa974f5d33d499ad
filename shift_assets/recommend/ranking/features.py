"""Features of candidate pairs: what every generator scores, and context of user and item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.models.metrics import top_k_columns
from shift_assets.recommend.candidates.popularity import popularity
from shift_assets.recommend.ranking.score_scaling import scale_to_best
from shift_assets.recommend.window import Window

RANK_OFFSET = 5.0
"""A source's first place counts 1, its place r (1 + offset) / (r + offset): half at the seventh."""


HIGH_ACTIVITY_EVENTS = 500
"""Events that count as 1 on the logarithmic scale of activity."""


POPULAR_DAYS = 7


RECENT_EVENTS = 20


SAVED_BEHAVIORS = [BEHAVIORS.index(name) + 1 for name in ("favorite", "cart")]


GENERATOR_FEATURES = ("score", "rank", "listed", "score x activity", "rank x activity")


ITEM_FEATURE_NAMES = ("popularity", "newness", "rest")


USER_ITEM_FEATURE_NAMES = ("times", "recency", "turn", "bought", "kept")


BASE_FEATURE_NAMES = (*ITEM_FEATURE_NAMES, "category share", "recent category share", *USER_ITEM_FEATURE_NAMES)


CONTEXT_FEATURE_NAMES = (*BASE_FEATURE_NAMES, *(f"{name} x activity" for name in BASE_FEATURE_NAMES))


class ContextFeatures(NamedTuple):
    """What is known of a window's users and items beside what the sources say, every trait in 0..1.

    `activity` [user] is log(1 + events) over log(1 + MUCH_ACTIVITY). `items` [item, trait] are popularity (log, over
    the most popular's), newness and rest (log of days since first and last met, over the window's). `shares` hold the
    shares of categories in all of a user's events and in the newest RECENT_EVENTS, [user, category code] each. `own`
    hold, [user, item] each, what the user did with the item: how often (log), how lately (by days, and by events
    since), whether it bought it, whether it kept it for later (favourite, cart).
    """

    activity: Float32Array
    items: Float32Array
    shares: tuple[sparse.csr_matrix, ...]
    own: tuple[sparse.csr_matrix, ...]
    categories: Int64Array

    @classmethod
    def of(cls, window: Window, log: Window) -> ContextFeatures:
        """Users as the histories of `window` show them, items as the whole `log` does."""
        activity = np.log1p(window.sequences.lengths) / np.log1p(HIGH_ACTIVITY_EVENTS)
        popular = np.log1p(popularity(log, POPULAR_DAYS))
        longest = max(int(log.ages.max(initial=0)), 1)
        known = log.items >= 0
        first, last = np.zeros(log.item_count), np.full(log.item_count, longest)
        np.maximum.at(first, log.items[known], log.ages[known])
        np.minimum.at(last, log.items[known], log.ages[known])
        items = [
            popular / max(popular.max(initial=0), 1),
            np.log1p(first) / np.log1p(longest),
            np.log1p(last) / np.log1p(longest),
        ]
        since = window.sequences.offsets[1:][window.owners] - 1 - np.arange(len(window.owners))
        categories = window.vocabulary.item_categories[1:]
        times = window.user_items(np.ones(len(since)))
        times.data = np.log1p(times.data) / np.log1p(HIGH_ACTIVITY_EVENTS)
        return cls(
            activity.astype(np.float32),
            np.stack(items, axis=1).astype(np.float32),
            tuple(
                _category_shares(window.user_items(weights), categories)
                for weights in (np.ones(len(since)), (since < RECENT_EVENTS).astype(np.float64))
            ),
            (
                times,
                _max_per_pair(window, 1 / (1 + window.ages)),
                _max_per_pair(window, 1 / np.sqrt(1 + since)),
                _max_per_pair(window, window.bought.astype(np.float64)),
                _max_per_pair(window, np.isin(window.sequences.behaviors, SAVED_BEHAVIORS).astype(np.float64)),
            ),
            categories,
        )

    def features(self, users: Int64Array, items: Int64Array) -> Float32Array:
        """The traits [pair, trait] of pairs of user and item; the second half is the first times the activity."""
        columns = [*self.items[items].T]
        columns += [values_at(share, users, self.categories[items]) for share in self.shares]
        columns += [values_at(done, users, items) for done in self.own]
        plain = np.stack(columns, axis=1)
        return np.concatenate([plain, plain * self.activity[users][:, None]], axis=1).astype(np.float32)


def values_at(matrix: sparse.csr_matrix, rows: Int64Array, columns: Int64Array) -> Float32Array:
    """Values of the matrix at pairs of row and column."""
    if not len(rows):  # scipy gives a matrix for no pairs
        return np.zeros(0, dtype=np.float32)
    return np.asarray(matrix[rows, columns], dtype=np.float32).ravel()


def _category_shares(taken: sparse.csr_matrix, categories: Int64Array) -> sparse.csr_matrix:
    """Share [user, category code] of what was taken."""
    of_category = sparse.csr_matrix(
        (np.ones(len(categories), np.float32), (np.arange(len(categories)), categories)),
        shape=(len(categories), int(categories.max(initial=0)) + 1),
    )
    counts = taken @ of_category
    total = np.asarray(counts.sum(axis=1)).ravel()
    return (sparse.diags(1 / np.maximum(total, 1e-9)) @ counts).tocsr()


def _max_per_pair(window: Window, values: npt.NDArray[np.float64]) -> sparse.csr_matrix:
    """The largest of `values[event]` among the user's events of the item, [user, item]; zeros are left out."""
    kept = np.flatnonzero((values > 0) & ~window.returned & (window.items >= 0))
    pair = window.owners[kept] * max(window.item_count, 1) + window.items[kept]
    order = np.lexsort((values[kept], pair))
    newest = order[np.append(np.diff(pair[order]) != 0, True)[: len(order)]]
    return sparse.csr_matrix(
        (values[kept][newest].astype(np.float32), (window.owners[kept][newest], window.items[kept][newest])),
        shape=(len(window.sequences.users), window.item_count),
    )


class CandidatePairs(NamedTuple):
    """Candidates, sorted by row and column of the scores; `features` [pair, feature], `nominated` [pair, source]."""

    rows: Int64Array
    columns: Int64Array
    features: Float32Array
    nominated: BoolArray


def feature_names(sources: Sequence[str]) -> list[str]:
    """What the features of a candidate are called, in order."""
    return [f"{source}: {name}" for source in sources for name in GENERATOR_FEATURES] + list(CONTEXT_FEATURE_NAMES)


def candidate_pairs(
    scores: Sequence[Float32Array], context_features: ContextFeatures, users: Int64Array, items: Int64Array, kept: int
) -> CandidatePairs:
    """The best `kept` items of every source for each user, from `scores[source][user, item]`, and their features."""
    width = max(len(items), 1)
    shares = [scale_to_best(block) for block in scores]
    positions = []
    for share in shares:
        best, values = top_k_columns(share, kept)
        row, position = np.nonzero(values > 0)
        positions.append((row * width + best[row, position], position))
    keys = np.unique(np.concatenate([key for key, _ in positions]))
    rows, columns = keys // width, keys % width
    activity = context_features.activity[users][rows]
    count = len(GENERATOR_FEATURES)
    features = np.zeros((len(keys), count * len(scores) + len(CONTEXT_FEATURE_NAMES)), dtype=np.float32)
    nominated = np.zeros((len(keys), len(scores)), dtype=bool)
    for number, (share, (own, position)) in enumerate(zip(shares, positions, strict=True)):
        at = np.searchsorted(keys, own)
        nominated[at, number] = True
        block = features[:, count * number : count * (number + 1)]
        block[:, 0] = share[rows, columns]
        block[at, 1] = (1 + RANK_OFFSET) / (1 + position + RANK_OFFSET)
        block[:, 2] = nominated[:, number]
        block[:, 3:] = block[:, :2] * activity[:, None]
    features[:, count * len(scores) :] = context_features.features(users[rows], items[columns])
    return CandidatePairs(rows, columns, features, nominated)
