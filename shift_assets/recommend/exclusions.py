"""What is never recommended: items that left the catalogue, and what the user returned or has just bought."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.recommend.window import UserItems, Window
from shift_assets.settings.root import RecommendationSettings


def in_catalogue(window: Window, catalogue_days: int) -> Bool[BoolArray, " item"]:
    """Items [item] with an event other than a return within `catalogue_days`, and those without any event."""
    recent, ever = np.zeros((2, window.item_count), dtype=bool)
    ever[window.items] = True
    recent[window.items[(window.ages < catalogue_days) & ~window.returned]] = True
    return recent | ~ever


def excluded_pairs(window: Window, settings: RecommendationSettings) -> UserItems:
    """Pairs of user and item that must not be recommended, sorted by user."""
    bought = window.bought & (window.ages < settings.exclude_bought_days)
    returned = window.returned & (window.ages < settings.exclude_returned_days)
    events = np.flatnonzero(bought | returned)
    return window.owners[events], window.items[events]


def pairs_in_block(pairs: UserItems, users: Int64Array, items: Int64Array, window: Window) -> UserItems:
    """Those of the `pairs` among `users` and `items`, as row of the former and column of the latter."""
    owners, taken = pairs
    row, column = np.full(len(window.sequences.users), -1), np.full(window.item_count + 1, -1)
    row[users], column[items] = np.arange(len(users)), np.arange(len(items))
    inside = (row[owners] >= 0) & (column[taken] >= 0)
    return row[owners[inside]], column[taken[inside]]
