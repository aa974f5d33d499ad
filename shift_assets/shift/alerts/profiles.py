"""Long-term profiles: decayed and added to by day, and split where a new interest has become normal."""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, offsets, sum_by
from shift_assets.interest.user_days import UserDays, Weights
from shift_assets.shift.alerts.kinds import AlertContext

MINIMUM_WEIGHT = 0.01
"""A weight of the long-term profile below this part of a day is dropped."""


def decay_and_add(
    profile: Weights, user_days: UserDays, scored: Int64Array, decay: float, n_categories: int
) -> Weights:
    """Decay the profiles of the users `scored` by a scored day, and add the newest day's own shares; sorted."""
    newest = user_days.take_entries(user_days.start[scored + 1] - 1, np.arange(len(scored) + 1))
    key = np.concatenate(
        [profile.user * n_categories + profile.category, scored[newest.score_entry] * n_categories + newest.category]
    )
    factor = np.ones(user_days.n_users)
    factor[scored] = decay
    weight = np.concatenate([profile.weight * factor[profile.user], newest.own_share])
    return _weights(key, weight, user_days.n_users, n_categories)


def _weights(key: Int64Array, weight: Float64Array, n_users: int, n_categories: int) -> Weights:
    """Sum of `weight` per key (user * n_categories + category), without sums below `MINIMUM_WEIGHT`."""
    cells, cell = np.unique(key, return_inverse=True)
    total = sum_by(cell, weight, len(cells))
    keep = total >= MINIMUM_WEIGHT
    cells, total = cells[keep], total[keep]
    return Weights(offsets(np.bincount(cells // n_categories, minlength=n_users)), cells % n_categories, total)


def settle(context: AlertContext, settled: BoolArray, onset_day: Int64Array) -> tuple[Weights, Weights]:
    """Split the profiles of users whose new interest has become normal at its onset.

    Args:
        context: recent days and profiles.
        settled: whether the new interest has become normal, [user].
        onset_day: day on which it began, days since 1970-01-01, [user].

    Returns:
        The long-term profile, for settled users of the days since the onset only, and the former profile, to which
        the rest was added.
    """
    profile, former, user_days = context.profile, context.former, context.user_days
    if not settled.any():
        return profile, former
    n = max(context.n_categories, 1)
    entry = user_days.score_entry
    user = user_days.user[entry]
    since = settled[user] & (user_days.day[entry] >= onset_day[user])
    key = (user * n + user_days.category)[since]
    weight = (context.shares * context.decay ** user_days.age[entry])[since]
    leaves, stays = settled[profile.user], ~settled[profile.user]
    old_key = profile.user * n + profile.category
    former_stays = ~settled[former.user]
    return (
        _weights(
            np.concatenate([old_key[stays], key]),
            np.concatenate([profile.weight[stays], weight]),
            user_days.n_users,
            n,
        ),
        _weights(
            np.concatenate([(former.user * n + former.category)[former_stays], old_key[leaves], key]),
            np.concatenate([former.weight[former_stays], profile.weight[leaves], -weight]),
            user_days.n_users,
            n,
        ),
    )
