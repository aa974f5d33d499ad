"""From rankings to lists: pulled to what rises, reordered, cut, and the last places drawn where a lot is held."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.experiments.exploration import best_by_category, explore, gain_matrix
from shift_assets.models.metrics import top_k_columns
from shift_assets.recommend.ranking.ranker import UserRanker
from shift_assets.recommend.ranking.rerank import RERANKED_CANDIDATES, fresh_items, rerank
from shift_assets.recommend.shift_adaptation.rising_boost import boost_rising
from shift_assets.recommend.shift_adaptation.user_policies import UserPolicies
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

EXPLORED = -1
"""In place of a source: a lot put the item into the list."""


class ExplorationInputs(NamedTuple):
    """Where lots are held and by what odds; arrays run along the users of a block.

    `gains` [user, category] weigh what may be emerging, 0 for users without a lot; `values` [draw, category] are
    posterior draws of a place's worth; `random_draws` [user, slot] are uniform in (0, 1).
    """

    gains: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    random_draws: npt.NDArray[np.float64]


class Slates(NamedTuple):
    """Lists [user, place], item -1 where there is none.

    `sources` indexes the sources of the ranking, or is BY_LOT; `rising` marks items of a category that rose in the
    user's open alarm; `propensities` are the odds of the item at its place.
    """

    items: Int64Array
    scores: Float32Array
    sources: Int64Array
    rising: BoolArray
    propensities: npt.NDArray[np.float64]


def make_slates(
    ranked: UserRanker,
    block: Int64Array,
    *,
    window: Window,
    allowed: Int64Array,
    user_policies: UserPolicies,
    vectors: Float32Array | None,
    exploration: ExplorationInputs | None,
    settings: RecommendationSettings,
) -> Slates:
    """The lists of one `block` of users, whose `ranked` scores run over the `allowed` items.

    `vectors` [item, dimension] tell which items are alike, None: those of one category.
    """
    found = ranked(block)
    scores = found.scores
    gains = _gains(window, block, allowed, user_policies)
    pulled = np.flatnonzero(((gains > 0) & (scores > 0)).any(axis=1))
    scores[pulled] = boost_rising(scores[pulled], gains[pulled], user_policies.rising_weight[block[pulled], None])
    reorders = max(settings.diversity, settings.calibration, settings.fresh_places) > 0
    best, values = top_k_columns(scores, max(settings.k, RERANKED_CANDIDATES) if reorders else settings.k)
    items = np.where(values > 0, best, -1)
    if reorders:
        positions = rerank(
            np.where(items >= 0, allowed[items], -1),
            vectors=_category_vectors(window) if vectors is None else vectors,
            categories=window.vocabulary.item_categories[1:],
            mix=_category_shares(window, block),
            fresh=fresh_items(window, settings.fresh_days),
            settings=settings,
        )
        items = np.where(positions >= 0, np.take_along_axis(items, np.maximum(positions, 0), axis=1), -1)
    propensities, is_explored = np.ones(items.shape), np.zeros(items.shape, dtype=bool)
    if exploration is not None:
        before = items
        categories = window.vocabulary.item_categories[allowed + 1] - 1
        candidates = best_by_category(scores.astype(np.float64), categories, items, exploration.gains > 0)
        drawn = explore(items, candidates, exploration.gains, exploration.values, exploration.random_draws)
        items, propensities = drawn.items, drawn.propensities
        is_explored = items != before
    valid = np.maximum(items, 0)
    return Slates(
        np.where(items >= 0, allowed[valid], -1),
        np.take_along_axis(scores, valid, axis=1),
        np.where(is_explored, EXPLORED, np.take_along_axis(found.sources, valid, axis=1)),
        np.take_along_axis(gains, valid, axis=1) > 0,
        propensities,
    )


def _gains(window: Window, block: Int64Array, allowed: Int64Array, user_policies: UserPolicies) -> Float32Array:
    """Gain [user, allowed item] in 0..1 of the item's category, for users whose policy follows their open alarm."""
    names = [window.sequences.users[user] for user in block]
    own = [
        user_policies.open_alerts[name].gains if adjusts and name in user_policies.open_alerts else {}
        for name, adjusts in zip(names, user_policies.adjusts[block], strict=True)
    ]
    by_category = np.zeros((len(block), len(window.vocabulary.categories) + 1), dtype=np.float32)
    by_category[:, 1:] = gain_matrix(own, window.vocabulary.categories)
    return np.asarray(by_category[:, window.vocabulary.item_categories[allowed + 1]])


def _category_shares(window: Window, block: Int64Array) -> Float32Array:
    """Shares [user, category code] of the block's users' events."""
    width = len(window.vocabulary.categories) + 1
    counts = np.bincount(
        window.owners * width + window.sequences.categories, minlength=len(window.sequences.users) * width
    ).reshape(-1, width)[block]
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), dtype=np.float32)


def _category_vectors(window: Window) -> Float32Array:
    """Unit vectors [item, category code] under which items are alike where their category is the same."""
    width = len(window.vocabulary.categories) + 1
    return np.eye(width, dtype=np.float32)[window.vocabulary.item_categories[1:]]
