"""Features of candidate pairs of user and item: what every generator scores, and the context of user and item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy import sparse

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.models.metrics import top_k_columns
from shift_assets.recommend.candidates.popularity import popularity
from shift_assets.recommend.ranking.score_scaling import scale_to_best
from shift_assets.recommend.window import Window

RANK_OFFSET = 5.0
"""A generator's first rank counts 1, its rank r (1 + offset) / (r + offset): half at the seventh."""
HIGH_ACTIVITY_EVENTS = 500
"""Events that count as 1 on the logarithmic scale of activity."""
POPULAR_DAYS = 7
RECENT_EVENTS = 20
SAVED_BEHAVIORS = [BEHAVIORS.index(name) + 1 for name in ("favorite", "cart")]

GENERATOR_FEATURES = ("score", "rank", "is candidate", "score x activity", "rank x activity")
ITEM_FEATURE_NAMES = ("popularity", "days since first seen", "days since last seen")
USER_ITEM_FEATURE_NAMES = ("times", "recency", "event recency", "bought", "saved")
BASE_FEATURE_NAMES = (*ITEM_FEATURE_NAMES, "category share", "recent category share", *USER_ITEM_FEATURE_NAMES)
CONTEXT_FEATURE_NAMES = (*BASE_FEATURE_NAMES, *(f"{name} x activity" for name in BASE_FEATURE_NAMES))


class ContextFeatures(NamedTuple):
    """Features of a window's users and items that do not come from the generators' scores, each in 0..1.

    Attributes:
        activity: log(1 + events) over log(1 + HIGH_ACTIVITY_EVENTS), [user].
        items: ITEM_FEATURE_NAMES, [item, feature]: popularity (log, over the most popular item's), days since first
            and last seen (log, over the window's).
        shares: Shares of categories, [user, category code] each: in all of a user's events, and in the newest
            RECENT_EVENTS.
        own: USER_ITEM_FEATURE_NAMES, [user, item] each: how often the user interacted with the item (log), how
            recently by days and by events since, whether it was bought, whether it was saved (favourite, cart).
        categories: Category code [item].
    """

    activity: Float32[Float32Array, " user"]
    items: Float32[Float32Array, "item feature"]
    shares: tuple[sparse.csr_matrix, ...]
    own: tuple[sparse.csr_matrix, ...]
    categories: Int64[Int64Array, " item"]

    @classmethod
    def of(cls, window: Window, log: Window) -> ContextFeatures:
        """Features of users from the histories of `window`, of items from the whole `log`."""
        activity = np.log1p(window.sequences.lengths) / np.log1p(HIGH_ACTIVITY_EVENTS)
        events_since = window.sequences.offsets[1:][window.owners] - 1 - np.arange(len(window.owners))
        categories = window.vocabulary.item_categories[1:]
        is_recent = (events_since < RECENT_EVENTS).astype(np.float64)
        shares = (
            _category_shares(window.user_items(np.ones(len(events_since))), categories),
            _category_shares(window.user_items(is_recent), categories),
        )
        return cls(
            activity.astype(np.float32),
            _item_features(log),
            shares,
            _user_item_features(window, events_since),
            categories,
        )

    def features(
        self, users: Int64[Int64Array, " pair"], items: Int64[Int64Array, " pair"]
    ) -> Float32[Float32Array, "pair feature"]:
        """CONTEXT_FEATURE_NAMES [pair, feature] of pairs of user and item."""
        columns = [*self.items[items].T]
        columns += [values_at(share, users, self.categories[items]) for share in self.shares]
        columns += [values_at(done, users, items) for done in self.own]
        plain = np.stack(columns, axis=1)
        return np.concatenate([plain, plain * self.activity[users][:, None]], axis=1).astype(np.float32)


class CandidatePairs(NamedTuple):
    """Candidate pairs of user and item, sorted by row and column of the scores.

    Attributes:
        rows: Row of the scores, [pair].
        columns: Column of the scores, [pair].
        features: [pair, feature], in the order of `feature_names`.
        nominated: Whether the generator has the item among its best, [pair, generator].
    """

    rows: Int64[Int64Array, " pair"]
    columns: Int64[Int64Array, " pair"]
    features: Float32[Float32Array, "pair feature"]
    nominated: Bool[BoolArray, "pair generator"]


def feature_names(generators: Sequence[str]) -> list[str]:
    """Names of the features of a candidate pair, in order."""
    return [f"{generator}: {name}" for generator in generators for name in GENERATOR_FEATURES] + list(
        CONTEXT_FEATURE_NAMES
    )


def candidate_pairs(
    scores: Sequence[Float32[Float32Array, "user item"]],
    context_features: ContextFeatures,
    users: Int64[Int64Array, " user"],
    items: Int64[Int64Array, " item"],
    top_k: int,
) -> CandidatePairs:
    """The `top_k` best items of every generator for each user, with their features.

    Args:
        scores: [user, item] of each generator.
        context_features: Features of the users and items of a window.
        users: Rows of the scores, as indices into that window's users.
        items: Columns of the scores, as indices into that window's items.
        top_k: Items that each generator proposes per user.
    """
    width = max(len(items), 1)
    shares = [scale_to_best(block) for block in scores]
    proposals = []
    for share in shares:
        best, values = top_k_columns(share, top_k)
        row, position = np.nonzero(values > 0)
        proposals.append((row * width + best[row, position], position))
    keys = np.unique(np.concatenate([key for key, _ in proposals]))
    rows, columns = keys // width, keys % width
    activity = context_features.activity[users][rows]
    count = len(GENERATOR_FEATURES)
    features = np.zeros((len(keys), count * len(scores) + len(CONTEXT_FEATURE_NAMES)), dtype=np.float32)
    nominated = np.zeros((len(keys), len(scores)), dtype=bool)
    for number, (share, (own, position)) in enumerate(zip(shares, proposals, strict=True)):
        at = np.searchsorted(keys, own)
        nominated[at, number] = True
        block = features[:, count * number : count * (number + 1)]
        block[:, 0] = share[rows, columns]
        block[at, 1] = (1 + RANK_OFFSET) / (1 + position + RANK_OFFSET)
        block[:, 2] = nominated[:, number]
        block[:, 3:] = block[:, :2] * activity[:, None]
    features[:, count * len(scores) :] = context_features.features(users[rows], items[columns])
    return CandidatePairs(rows, columns, features, nominated)


def values_at(
    matrix: sparse.csr_matrix, rows: Int64[Int64Array, " pair"], columns: Int64[Int64Array, " pair"]
) -> Float32[Float32Array, " pair"]:
    """Values of the matrix at pairs of row and column, [pair]."""
    if not len(rows):  # scipy gives a matrix for no pairs
        return np.zeros(0, dtype=np.float32)
    return np.asarray(matrix[rows, columns], dtype=np.float32).ravel()


def _item_features(log: Window) -> Float32Array:
    """ITEM_FEATURE_NAMES [item, feature]."""
    popular = np.log1p(popularity(log, POPULAR_DAYS))
    longest = max(int(log.ages.max(initial=0)), 1)
    known = log.items >= 0
    first, last = np.zeros(log.item_count), np.full(log.item_count, longest)
    np.maximum.at(first, log.items[known], log.ages[known])
    np.minimum.at(last, log.items[known], log.ages[known])
    columns = [
        popular / max(popular.max(initial=0), 1),
        np.log1p(first) / np.log1p(longest),
        np.log1p(last) / np.log1p(longest),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _user_item_features(window: Window, events_since: Int64Array) -> tuple[sparse.csr_matrix, ...]:
    """USER_ITEM_FEATURE_NAMES, [user, item] each; `events_since[event]` counts the user's later events."""
    times = window.user_items(np.ones(len(events_since)))
    times.data = np.log1p(times.data) / np.log1p(HIGH_ACTIVITY_EVENTS)
    return (
        times,
        _max_per_pair(window, 1 / (1 + window.ages)),
        _max_per_pair(window, 1 / np.sqrt(1 + events_since)),
        _max_per_pair(window, window.bought.astype(np.float64)),
        _max_per_pair(window, np.isin(window.sequences.behaviors, SAVED_BEHAVIORS).astype(np.float64)),
    )


def _category_shares(taken: sparse.csr_matrix, categories: Int64Array) -> sparse.csr_matrix:
    """Share [user, category code] of `taken[user, item]`."""
    of_category = sparse.csr_matrix(
        (np.ones(len(categories), np.float32), (np.arange(len(categories)), categories)),
        shape=(len(categories), int(categories.max(initial=0)) + 1),
    )
    counts = taken @ of_category
    total = np.asarray(counts.sum(axis=1)).ravel()
    return (sparse.diags(1 / np.maximum(total, 1e-9)) @ counts).tocsr()


def _max_per_pair(window: Window, values: Float64Array) -> sparse.csr_matrix:
    """The largest of `values[event]` among the user's events of the item, [user, item]; zeros are left out."""
    counted = np.flatnonzero((values > 0) & ~window.returned & (window.items >= 0))
    pair = window.owners[counted] * max(window.item_count, 1) + window.items[counted]
    order = np.lexsort((values[counted], pair))
    largest = counted[order[np.append(np.diff(pair[order]) != 0, True)[: len(order)]]]
    return sparse.csr_matrix(
        (values[largest].astype(np.float32), (window.owners[largest], window.items[largest])),
        shape=(len(window.sequences.users), window.item_count),
    )
