"""Long-term profiles: a day older, a day richer, and split where a new interest has become normal."""

from __future__ import annotations

import numpy as np

from shift_assets.shift.open_alarms import Explained, OpenAlarms
from shift_assets.shift.rings import Floats, Ints, Rings, Weights, offsets, sum_by

FORGOTTEN = 0.01
"""A weight of the long-term profile below this part of a day is dropped."""


def decay_and_add(profile: Weights, rings: Rings, scored: Ints, decay: float, n_categories: int) -> Weights:
    """Profiles one scored day older, with the newest day's own shares added, for the users `scored`; sorted."""
    newest = rings.take_entries(rings.start[scored + 1] - 1, np.arange(len(scored) + 1))
    key = np.concatenate(
        [profile.user * n_categories + profile.category, scored[newest.score_entry] * n_categories + newest.category]
    )
    factor = np.ones(rings.n_users)
    factor[scored] = decay
    weight = np.concatenate([profile.weight * factor[profile.user], newest.own_share])
    return _weights(key, weight, rings.n_users, n_categories)


def _weights(key: Ints, weight: Floats, n_users: int, n_categories: int) -> Weights:
    """The sum of `weight` per key (user * n_categories + category), without what is `FORGOTTEN`."""
    cells, cell = np.unique(key, return_inverse=True)
    total = sum_by(cell, weight, len(cells))
    kept = total >= FORGOTTEN
    cells, total = cells[kept], total[kept]
    return Weights(offsets(np.bincount(cells // n_categories, minlength=n_users)), cells % n_categories, total)


def settle(profile: Weights, former: Weights, view: Explained, alarms: OpenAlarms) -> tuple[Weights, Weights]:
    """Profiles split at the onset where the new interest has become normal: what came since, and what was before."""
    if not alarms.settled.any():
        return profile, former
    rings, n = view.rings, max(view.n_categories, 1)
    entry = rings.score_entry
    user = rings.user[entry]
    since = alarms.settled[user] & (rings.day[entry] >= alarms.onset[user])
    key = (user * n + rings.category)[since]
    weight = (view.shares * view.decay ** rings.age[entry])[since]
    kept, gone = ~alarms.settled[profile.user], alarms.settled[profile.user]
    old_key = profile.user * n + profile.category
    former_kept = ~alarms.settled[former.user]
    return (
        _weights(
            np.concatenate([old_key[kept], key]), np.concatenate([profile.weight[kept], weight]), rings.n_users, n
        ),
        _weights(
            np.concatenate([(former.user * n + former.category)[former_kept], old_key[gone], key]),
            np.concatenate([former.weight[former_kept], profile.weight[gone], -weight]),
            rings.n_users,
            n,
        ),
    )
