"""Simulated histories for tests of splicing: users with a taste of their own, or all of one taste."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shift_assets.arrays import CategoryCodes, offsets
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays

CATEGORIES = 12
SPAN_DAYS = 120


def stationary_users(users: int, seed: int, *, tastes: int = 4, days: tuple[int, int] = (18, 60)) -> Histories:
    """Stationary users: each day a few events of the user's own mix, which is one of `tastes`, with some noise."""
    random = np.random.default_rng(seed)
    centres = random.dirichlet(np.full(CATEGORIES, 0.3), size=tastes)
    length = random.integers(*days, users)
    day = np.concatenate([np.sort(random.choice(SPAN_DAYS, n, replace=False)) for n in length]) + 20_000
    taste = np.repeat(random.integers(tastes, size=users), length)
    scores = np.array([random.multinomial(1 + random.poisson(5), centres[one]) for one in taste])
    entry, category = np.nonzero(scores)
    counts = np.zeros((len(day), len(BEHAVIORS)), np.int32)
    counts[:, 0] = scores.sum(axis=1)
    return Histories(
        pa.array([f"u{user:04d}" for user in range(users)]),
        CategoryCodes(pa.array([f"c{k:02d}" for k in range(CATEGORIES)])),
        UserDays(
            offsets(length),
            day,
            offsets(np.bincount(entry, minlength=len(day))),
            category,
            scores[entry, category].astype(np.float64),
            counts,
        ),
    )


def as_series(log: Histories, segment: str = "north") -> pa.Table:
    """The histories as `interest_series`."""
    user_days, cells = log.user_days, log.user_days.score_entry
    columns = {
        "day": pa.array(user_days.day[cells].astype(np.int32)).cast(pa.date32()),
        "segment": [segment] * len(cells),
        "user_id": log.users.take(pa.array(user_days.user[cells])),
        "category": log.codes.decode(user_days.category),
        "score": user_days.score,
        **{f"n_{behavior}": np.zeros(len(cells), np.int64) for behavior in BEHAVIORS},
        "n_view": user_days.score.astype(np.int64),
        "amount": np.zeros(len(cells)),
    }
    return INTEREST_SERIES.conform(pa.table(columns))
