"""Small logs of clean events for the tests of models, lists and outcomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS

FIRST_DAY = date(2024, 3, 1)

Row = tuple[int, str, str, str]
"""Day from FIRST_DAY on, user, item, behaviour."""


def user_id(name: str) -> str:
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def clean_events(rows: Iterable[Row], segment: str = "all") -> pa.Table:
    """Rows as clean_events, one minute apart within a day; an item's category is its part before the dash."""
    events = []
    for place, (number, user, item, behavior) in enumerate(rows):
        moment = datetime.combine(day(number), time(9), UTC) + timedelta(seconds=60 * (place % 600))
        events.append(
            {
                "day": day(number),
                "segment": segment,
                "event_id": user_id(f"event {place}"),
                "user_id": user_id(user),
                "item_id": item,
                "category": item.partition("-")[0],
                "behavior": behavior,
                "event_ts": moment,
                "quantity": 1.0,
                "price": 2.0,
                "source": "test",
                "source_file": "f",
                "source_row": place + 1,
            }
        )
    return pa.Table.from_pylist(events, schema=CLEAN_EVENTS.schema)


def shuffled(table: pa.Table, seed: int = 0) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))


def ring_log(users: int = 60, days: int = 12, items: int = 24) -> pa.Table:
    """A planted sequence: whoever took item i takes item i + 1 on the next day, each user from a start of its own.

    Every item is equally popular, so only the order of a user's events predicts anything.
    """
    return clean_events(
        (number, f"user {user}", f"c{(user + number) % items % 4}-{(user + number) % items:02d}", "purchase")
        for number in range(days)
        for user in range(users)
    )


def random_log(seed: int, users: int = 30, days: int = 20, items: int = 40, per_day: int = 40) -> pa.Table:
    """Purchases with a popular head, some views and some returns."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, items + 1)
    rows: list[Row] = []
    for number in range(days):
        for _ in range(per_day):
            item = int(random.choice(items, p=weights / weights.sum()))
            behavior = str(random.choice(["purchase", "view", "return"], p=[0.7, 0.2, 0.1]))
            rows.append((number, f"user {random.integers(users)}", f"c{item % 5}-{item:02d}", behavior))
    return clean_events(rows)
