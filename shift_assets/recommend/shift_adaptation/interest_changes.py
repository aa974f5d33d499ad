"""Between which categories a user's interest moved, for the reasons that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

from shift_assets.arrays import BoolArray, Float64Array, sum_by
from shift_assets.contracts.day import date_of, day_number
from shift_assets.recommend.shift_adaptation.adaptation import Adaptation
from shift_assets.recommend.window import Window

REPORTED_FROM_WEIGHT = 0.25
"""Weight of the short-term interest from which a reason mentions a change."""


class InterestChange(NamedTuple):
    """Since `since` the share of `risen` is larger and that of `fallen`, the category that lost most, smaller."""

    since: date
    today: date
    risen: str
    fallen: str


def interest_changes(window: Window, adaptation: Adaptation, adjusts: BoolArray) -> dict[int, InterestChange]:
    """The change of every user, by index, whose policy adjusts and whose short-term weight is large enough."""
    names = window.vocabulary.categories
    sequences = window.sequences
    found = {}
    for user in np.flatnonzero((adaptation.weight >= REPORTED_FROM_WEIGHT) & adjusts).tolist():
        first, last = sequences.offsets[user : user + 2]
        codes, is_new = sequences.categories[first:last], sequences.days[first:last] >= adaptation.since[user]
        counted = (codes > 0) & ~window.returned[first:last]
        old, new = (np.bincount(codes[counted & part], minlength=len(names) + 1) for part in (~is_new, is_new))
        if old.sum() and new.sum():
            gained = new / new.sum() - old / old.sum()
            risen, fallen = int(gained.argmax()), int(gained.argmin())
            if gained[risen] > 0:
                since = date_of(int(adaptation.since[user]))
                found[user] = InterestChange(since, window.day, names[risen - 1], names[fallen - 1])
    return found


def daily_shares_since(window: Window, opened: Sequence[date | None]) -> Float64Array:
    """Sum [target user, category] of the daily category shares on active days after the day `opened[target user]`.

    Zeros for users without such a day.
    """
    sequences = window.sequences
    first = np.full(len(sequences.users), np.iinfo(np.int64).max)
    for user, day in zip(window.target_users, opened, strict=True):
        if day is not None:
            first[user] = day_number(day) + 1
    counted = (sequences.days >= first[window.owners]) & ~window.returned & (sequences.categories > 0)
    owners, days, codes = window.owners[counted], sequences.days[counted], sequences.categories[counted]
    _, visit, sizes = np.unique(np.stack([owners, days]), axis=1, return_inverse=True, return_counts=True)
    width = len(window.vocabulary.categories)
    sums = sum_by(owners * width + codes - 1, 1 / sizes[visit], len(sequences.users) * width)
    return sums.reshape(-1, width)[window.target_users]
