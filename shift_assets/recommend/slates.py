"""From ranked items to slates: rising categories boosted, re-ranked, truncated to k, the last ranks explored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.experiments.exploration import ExplorationInputs, best_by_category, explore, gain_matrix
from shift_assets.models.metrics import top_k_columns
from shift_assets.recommend.ranking.ranker import BlendedRanker
from shift_assets.recommend.ranking.rerank import RERANKED_CANDIDATES, fresh_items, rerank
from shift_assets.recommend.shift_adaptation.rising_boost import boost_rising
from shift_assets.recommend.shift_adaptation.user_policies import UserPolicies
from shift_assets.recommend.window import Window, blocks_of

EXPLORED = -1
"""Index of the generator of an item that exploration put on its rank."""


class Slates(NamedTuple):
    """Recommendations of the target users, [user, rank] each.

    Attributes:
        items: Item; -1 where a slate is shorter.
        scores: Score of the item.
        generators: Index into the names of the ranker, or EXPLORED.
        rising: Whether the item's category rose in the user's open alert.
        propensities: Probability of the item at its rank.
    """

    items: Int64[Int64Array, "user rank"]
    scores: Float32[Float32Array, "user rank"]
    generators: Int64[Int64Array, "user rank"]
    rising: Bool[BoolArray, "user rank"]
    propensities: Float64[Float64Array, "user rank"]


def make_slates(
    ranker: BlendedRanker,
    policies: UserPolicies,
    *,
    vectors: Float32Array | None,
    exploration: ExplorationInputs | None,
) -> Slates:
    """Slates of the target users of the ranker's histories.

    Args:
        ranker: Scores the allowed items.
        policies: What differs between the users.
        vectors: Vectors [item, dimension] whose cosine is the similarity of two items; None: items of one category
            are similar.
        exploration: Where items are drawn at random; None: nowhere.
    """
    targets = ranker.histories.target_users
    blocks = [
        _block(ranker, targets[part], policies, vectors, None if exploration is None else exploration.of_users(part))
        for part in blocks_of(np.arange(len(targets)), len(ranker.allowed))
    ]
    return Slates(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _block(
    ranker: BlendedRanker,
    users: Int64Array,
    policies: UserPolicies,
    vectors: Float32Array | None,
    exploration: ExplorationInputs | None,
) -> Slates:
    """Slates of a block of users."""
    window, allowed = ranker.histories, ranker.allowed
    found = ranker.score(users)
    scores = found.scores
    gains = _gains(window, users, allowed, policies)
    boosted = np.flatnonzero(((gains > 0) & (scores > 0)).any(axis=1))
    scores[boosted] = boost_rising(scores[boosted], gains[boosted], policies.rising_weight[users[boosted], None])
    ranked = _top_k(ranker, users, scores, vectors)
    columns, propensities = ranked, np.ones(ranked.shape)
    if exploration is not None:
        categories = window.vocabulary.item_categories[allowed + 1] - 1
        candidates = best_by_category(scores.astype(np.float64), categories, ranked, exploration.gains > 0)
        drawn = explore(ranked, candidates, exploration.gains, exploration.values, exploration.random_draws)
        columns, propensities = drawn.items, drawn.propensities
    valid = np.maximum(columns, 0)
    return Slates(
        np.where(columns >= 0, allowed[valid], -1),
        np.take_along_axis(scores, valid, axis=1),
        np.where(columns != ranked, EXPLORED, np.take_along_axis(found.generators, valid, axis=1)),
        np.take_along_axis(gains, valid, axis=1) > 0,
        propensities,
    )


def _top_k(ranker: BlendedRanker, users: Int64Array, scores: Float32Array, vectors: Float32Array | None) -> Int64Array:
    """Columns [user, rank] of the `settings.k` best scores, re-ranked where the settings ask for it; -1: none left."""
    window, allowed, settings = ranker.histories, ranker.allowed, ranker.settings
    is_reranked = max(settings.diversity, settings.calibration, settings.fresh_slots) > 0
    best, values = top_k_columns(scores, max(settings.k, RERANKED_CANDIDATES) if is_reranked else settings.k)
    columns = np.where(values > 0, best, -1)
    if not is_reranked:
        return columns
    positions = rerank(
        np.where(columns >= 0, allowed[columns], -1),
        vectors=_category_vectors(window) if vectors is None else vectors,
        categories=window.vocabulary.item_categories[1:],
        mix=_category_shares(window, users),
        fresh=fresh_items(window, settings.fresh_days),
        settings=settings,
    )
    return np.where(positions >= 0, np.take_along_axis(columns, np.maximum(positions, 0), axis=1), -1)


def _gains(window: Window, users: Int64Array, allowed: Int64Array, policies: UserPolicies) -> Float32Array:
    """Gain [user, allowed item] in 0..1 of the item's category, for users whose policy follows their open alert."""
    ids = [window.sequences.users[user] for user in users]
    own = [
        policies.open_alerts[user].gains if adjusts and user in policies.open_alerts else {}
        for user, adjusts in zip(ids, policies.adjusts[users], strict=True)
    ]
    by_category = np.zeros((len(users), len(window.vocabulary.categories) + 1), dtype=np.float32)
    by_category[:, 1:] = gain_matrix(own, window.vocabulary.categories)
    return np.asarray(by_category[:, window.vocabulary.item_categories[allowed + 1]])


def _category_shares(window: Window, users: Int64Array) -> Float32Array:
    """Shares [user, category code] of the users' events."""
    width = len(window.vocabulary.categories) + 1
    counts = np.bincount(
        window.owners * width + window.sequences.categories, minlength=len(window.sequences.users) * width
    ).reshape(-1, width)[users]
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), dtype=np.float32)


def _category_vectors(window: Window) -> Float32Array:
    """Unit vectors [item, category code]: items are similar where their category is the same."""
    width = len(window.vocabulary.categories) + 1
    return np.eye(width, dtype=np.float32)[window.vocabulary.item_categories[1:]]
