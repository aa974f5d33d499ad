"""Small logs for tests of shift detection: what users did, day by day, as a dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import pyarrow as pa

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.settings.root import Settings
from shift_assets.shift.detector.state import advance_range

FIRST_DAY = date(2024, 11, 1)
SEGMENT = "north"

Days = Sequence[Mapping[str, int]]
"""Per day from `FIRST_DAY` on: category to number of views, 0 for a return; an empty day is one without a visit."""


def user_id(name: str) -> str:
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def series_of(log: Mapping[str, Days], first: int = 0) -> pa.Table:
    """The interest series of named users: every view is one point of score."""
    rows = [
        {
            "day": day(first + number),
            "segment": SEGMENT,
            "user_id": user_id(name),
            "category": category,
            "score": float(views),
            **{f"n_{behavior}": 0 for behavior in BEHAVIORS},
            **({"n_view": views} if views else {"n_return": 1}),
            "amount": 0.0,
        }
        for name, days in log.items()
        for number, visited in enumerate(days)
        for category, views in visited.items()
    ]
    return INTEREST_SERIES.conform(pa.Table.from_pylist(rows, schema=INTEREST_SERIES.schema))


def states_of(log: Mapping[str, Days], settings: Settings, n_days: int | None = None) -> list[pa.Table]:
    """The state at the end of every day, from the first on."""
    length = n_days or max(len(days) for days in log.values())
    series = series_of(log)
    return [state for _, state in advance_range(None, series, [day(i) for i in range(length)], SEGMENT, settings)]


def row_of(table: pa.Table, name: str) -> dict:
    rows = [row for row in table.to_pylist() if row["user_id"] == user_id(name)]
    assert len(rows) <= 1
    return rows[0] if rows else {}
