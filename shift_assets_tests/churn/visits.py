"""Users as lists of visit days: as columns of the interest state, and simulated by BG/NBD."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from shift_assets.churn.bg_nbd import ChurnParameters

DAY = date(2025, 6, 1)
RECENT_DAYS_CAPACITY = 35
RECENT_DAYS_TYPE = pa.list_(pa.struct([("day", pa.date32())]))


def state_of(visits: Sequence[Sequence[date]], day: date) -> pa.Table:
    """The users' visits as columns of the interest state of `day`, in the given order; users not seen yet left out."""
    known = [sorted(days) for days in visits if days and min(days) <= day]
    gaps = [np.diff([visit.toordinal() for visit in days]) for days in known]
    user_days = [days[-RECENT_DAYS_CAPACITY:] for days in known]
    users = [f"{number:032x}" for number in range(len(known))]
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "last_active_day": pa.array([days[-1] for days in known], pa.date32()),
            "active_days": pa.array([len(days) for days in known], pa.int64()),
            "gap_count": pa.array([len(gap) for gap in gaps], pa.int64()),
            "gap_mean_days": pa.array([float(gap.mean()) if len(gap) else None for gap in gaps], pa.float64()),
            "recent_days": pa.array([[{"day": visit} for visit in ring] for ring in user_days], RECENT_DAYS_TYPE),
        }
    )


def simulated(parameters: ChurnParameters, n_users: int, days: int, seed: int) -> list[list[date]]:
    """Visits up to `DAY` of users drawn from BG/NBD, who first came in the first half of `days` days."""
    random = np.random.default_rng(seed)
    log = []
    for _ in range(n_users):
        rate = random.gamma(parameters.r, 1 / parameters.alpha)
        leaving = random.beta(parameters.a, parameters.b)
        time = random.uniform(0, days / 2)
        visits = []
        while time < days:
            visits.append(DAY - timedelta(days=days - 1 - int(time)))
            if len(visits) > 1 and random.random() < leaving:
                break
            time += random.exponential(1 / rate)
        log.append(sorted(set(visits)))
    return log
