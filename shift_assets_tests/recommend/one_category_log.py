"""A log of users who each prefer one category."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shift_assets_tests.event_logs import Row, clean_events

LAST = 27


def one_category_log(seed: int, users: int = 40, categories: int = 4, own: float = 0.9) -> pa.Table:
    """Users with one preferred category each, a share `own` of their events; some of its items are more frequent."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(LAST + 1):
        for user in range(users):
            for _ in range(3 if random.random() < 0.6 else 0):
                category = user % categories if random.random() < own else int(random.integers(categories))
                rows.append((number, f"user {user}", f"c{category}-{int(random.exponential(4)):02d}", "purchase"))
    return clean_events(rows)
