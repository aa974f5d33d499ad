"""From rankings to lists: pulled to what rises, reordered, cut, and the last places drawn where a lot is held."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shift_assets.models.ranking import best_columns
from shift_assets.models.sequences import Integers
from shift_assets.policies.exploration import best_by_category, explore, gain_matrix
from shift_assets.recommend.blend import pull_to_rising
from shift_assets.recommend.mixing import RankedUsers
from shift_assets.recommend.rerank import CONSIDERED, fresh_items, reranked
from shift_assets.recommend.treatment import Treatment
from shift_assets.recommend.window import Flags, Floats, Window
from shift_assets.settings import RecommendationSettings

BY_LOT = -1
"""In place of a source: a lot put the item into the list."""


class Lot(NamedTuple):
    """Where lots are held and by what odds; arrays run along the users of a block.

    `gains` [user, category] weigh what may be emerging, 0 for users without a lot; `values` [draw, category] are
    posterior draws of a place's worth; `chances` [user, slot] are uniform in (0, 1).
    """

    gains: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    chances: npt.NDArray[np.float64]


class Lists(NamedTuple):
    """Lists [user, place], item -1 where there is none.

    `sources` indexes the sources of the ranking, or is BY_LOT; `rising` marks items of a category that rose in the
    user's open alarm; `propensities` are the odds of the item at its place.
    """

    items: Integers
    scores: Floats
    sources: Integers
    rising: Flags
    propensities: npt.NDArray[np.float64]


def make_lists(
    ranked: RankedUsers,
    block: Integers,
    *,
    window: Window,
    allowed: Integers,
    treatment: Treatment,
    vectors: Floats | None,
    lot: Lot | None,
    settings: RecommendationSettings,
) -> Lists:
    """The lists of one `block` of users, whose `ranked` scores run over the `allowed` items.

    `vectors` [item, dimension] tell which items are alike, None: those of one category.
    """
    found = ranked(block)
    scores = found.scores
    gains = _gains(window, block, allowed, treatment)
    pulled = np.flatnonzero(((gains > 0) & (scores > 0)).any(axis=1))
    scores[pulled] = pull_to_rising(scores[pulled], gains[pulled], treatment.rising_weight[block[pulled], None])
    reorders = max(settings.diversity, settings.calibration, settings.fresh_places) > 0
    best, values = best_columns(scores, max(settings.k, CONSIDERED) if reorders else settings.k)
    items = np.where(values > 0, best, -1)
    if reorders:
        places = reranked(
            np.where(items >= 0, allowed[items], -1),
            vectors=_of_category(window) if vectors is None else vectors,
            categories=window.vocabulary.item_categories[1:],
            mix=_mix(window, block),
            fresh=fresh_items(window, settings.fresh_days),
            settings=settings,
        )
        items = np.where(places >= 0, np.take_along_axis(items, np.maximum(places, 0), axis=1), -1)
    propensities, by_lot = np.ones(items.shape), np.zeros(items.shape, dtype=bool)
    if lot is not None:
        kept = items
        categories = window.vocabulary.item_categories[allowed + 1] - 1
        candidates = best_by_category(scores.astype(np.float64), categories, items, lot.gains > 0)
        drawn = explore(items, candidates, lot.gains, lot.values, lot.chances)
        items, propensities = drawn.items, drawn.propensities
        by_lot = items != kept
    there = np.maximum(items, 0)
    return Lists(
        np.where(items >= 0, allowed[there], -1),
        np.take_along_axis(scores, there, axis=1),
        np.where(by_lot, BY_LOT, np.take_along_axis(found.sources, there, axis=1)),
        np.take_along_axis(gains, there, axis=1) > 0,
        propensities,
    )


def _gains(window: Window, block: Integers, allowed: Integers, treatment: Treatment) -> Floats:
    """Gain [user, allowed item] in 0..1 of the item's category, for users whose policy follows their open alarm."""
    names = [window.sequences.users[user] for user in block]
    own = [
        treatment.alarms[name].gains if adjusts and name in treatment.alarms else {}
        for name, adjusts in zip(names, treatment.adjusts[block], strict=True)
    ]
    by_category = np.zeros((len(block), len(window.vocabulary.categories) + 1), dtype=np.float32)
    by_category[:, 1:] = gain_matrix(own, window.vocabulary.categories)
    return np.asarray(by_category[:, window.vocabulary.item_categories[allowed + 1]])


def _mix(window: Window, block: Integers) -> Floats:
    """Shares [user, category code] of the block's users' events."""
    width = len(window.vocabulary.categories) + 1
    counts = np.bincount(
        window.owners * width + window.sequences.categories, minlength=len(window.sequences.users) * width
    ).reshape(-1, width)[block]
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), dtype=np.float32)


def _of_category(window: Window) -> Floats:
    """Unit vectors [item, category code] under which items are alike where their category is the same."""
    width = len(window.vocabulary.categories) + 1
    return np.eye(width, dtype=np.float32)[window.vocabulary.item_categories[1:]]
