"""What a list never holds: items that left the catalogue, and for a user what was returned or just bought."""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.recommend.window import UserItems, Window
from shift_assets.settings.root import RecommendationSettings


def in_catalogue(window: Window, catalogue_days: int) -> BoolArray:
    """Items [item] that somebody took, and did not just return, within `catalogue_days`; and those nobody met yet."""
    met, ever = np.zeros((2, window.item_count), dtype=bool)
    ever[window.items] = True
    met[window.items[(window.ages < catalogue_days) & ~window.returned]] = True
    return met | ~ever


def excluded_pairs(window: Window, settings: RecommendationSettings) -> UserItems:
    """Users and items that must not meet, as two parallel arrays sorted by user."""
    bought = window.bought & (window.ages < settings.exclude_bought_days)
    returned = window.returned & (window.ages < settings.exclude_returned_days)
    events = np.flatnonzero(bought | returned)
    return window.owners[events], window.items[events]


def pairs_in_block(pairs: UserItems, users: Int64Array, items: Int64Array, window: Window) -> UserItems:
    """Those of the `pairs` that lie among `users` and `items`, as rows of the former and columns of the latter."""
    owners, taken = pairs
    row, column = np.full(len(window.sequences.users), -1), np.full(window.item_count + 1, -1)
    row[users], column[items] = np.arange(len(users)), np.arange(len(items))
    inside = (row[owners] >= 0) & (column[taken] >= 0)
    return row[owners[inside]], column[taken[inside]]
