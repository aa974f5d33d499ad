from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.ingest.rows.zones import DAY_US, EARLIEST_US, LATEST_US, local_calendar

ZONES = (
    "Europe/London",
    "Asia/Shanghai",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "UTC",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def near_a_change(zone: str, index: int, offset_us: int) -> int:
    changes = local_calendar(zone).changes
    base = int(changes[index % len(changes)]) if len(changes) else EARLIEST_US
    return min(max(base + offset_us, EARLIEST_US), LATEST_US - 1)


_moments = st.tuples(st.sampled_from(ZONES), st.integers(0, 300), st.integers(-2 * DAY_US, 2 * DAY_US))


@given(_moments)
@settings(max_examples=400, deadline=None)
def test_local_days_are_those_of_the_standard_library(moment: tuple[str, int, int]) -> None:
    """Around every clock change, the local day of an instant is the one that `zoneinfo` gives."""
    zone, index, offset = moment
    instant = near_a_change(zone, index, offset)
    expected = (EPOCH + timedelta(microseconds=instant)).astimezone(ZoneInfo(zone)).date()
    (day,) = local_calendar(zone).to_day(np.array([instant]))
    assert expected.toordinal() == datetime(1970, 1, 1, tzinfo=UTC).toordinal() + day


@given(_moments)
@settings(max_examples=400, deadline=None)
def test_wall_clock_times_are_those_of_the_standard_library(moment: tuple[str, int, int]) -> None:
    """A wall-clock time means the earlier instant where it repeats, and none where a clock change skips it."""
    zone, index, offset = moment
    instant = near_a_change(zone, index, offset)
    wall = (EPOCH + timedelta(microseconds=instant)).replace(tzinfo=None)
    aware = wall.replace(tzinfo=ZoneInfo(zone), fold=0)
    exists = aware.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall
    utc, gap = local_calendar(zone).to_utc(np.array([instant]))
    assert bool(gap[0]) is not exists
    if exists:
        assert EPOCH + timedelta(microseconds=int(utc[0])) == aware.astimezone(UTC)
