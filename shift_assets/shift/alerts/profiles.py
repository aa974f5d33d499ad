"""Long-term profiles: a day older, a day richer, and split where a new interest has become normal."""

from __future__ import annotations

import numpy as np

from shift_assets.arrays import Float64Array, Int64Array, offsets, sum_by
from shift_assets.interest.user_days import UserDays, Weights
from shift_assets.shift.alerts.open_alerts import AlertContext, OpenAlerts

MINIMUM_WEIGHT = 0.01
"""A weight of the long-term profile below this part of a day is dropped."""


def decay_and_add(
    profile: Weights, user_days: UserDays, scored: Int64Array, decay: float, n_categories: int
) -> Weights:
    """Profiles one scored day older, with the newest day's own shares added, for the users `scored`; sorted."""
    newest = user_days.take_entries(user_days.start[scored + 1] - 1, np.arange(len(scored) + 1))
    key = np.concatenate(
        [profile.user * n_categories + profile.category, scored[newest.score_entry] * n_categories + newest.category]
    )
    factor = np.ones(user_days.n_users)
    factor[scored] = decay
    weight = np.concatenate([profile.weight * factor[profile.user], newest.own_share])
    return _weights(key, weight, user_days.n_users, n_categories)


def _weights(key: Int64Array, weight: Float64Array, n_users: int, n_categories: int) -> Weights:
    """The sum of `weight` per key (user * n_categories + category), without what is `MINIMUM_WEIGHT`."""
    cells, cell = np.unique(key, return_inverse=True)
    total = sum_by(cell, weight, len(cells))
    keep = total >= MINIMUM_WEIGHT
    cells, total = cells[keep], total[keep]
    return Weights(offsets(np.bincount(cells // n_categories, minlength=n_users)), cells % n_categories, total)


def settle(
    profile: Weights, former: Weights, context: AlertContext, open_alerts: OpenAlerts
) -> tuple[Weights, Weights]:
    """Profiles split at the onset where the new interest has become normal: what came since, and what was before."""
    if not open_alerts.settled.any():
        return profile, former
    user_days, n = context.user_days, max(context.n_categories, 1)
    entry = user_days.score_entry
    user = user_days.user[entry]
    since = open_alerts.settled[user] & (user_days.day[entry] >= open_alerts.onset[user])
    key = (user * n + user_days.category)[since]
    weight = (context.shares * context.decay ** user_days.age[entry])[since]
    keep, gone = ~open_alerts.settled[profile.user], open_alerts.settled[profile.user]
    old_key = profile.user * n + profile.category
    former_keep = ~open_alerts.settled[former.user]
    return (
        _weights(
            np.concatenate([old_key[keep], key]), np.concatenate([profile.weight[keep], weight]), user_days.n_users, n
        ),
        _weights(
            np.concatenate([(former.user * n + former.category)[former_keep], old_key[gone], key]),
            np.concatenate([former.weight[former_keep], profile.weight[gone], -weight]),
            user_days.n_users,
            n,
        ),
    )
