"""Convert arrays between wall-clock times of a zone, UTC, and local days.

Based on `zoneinfo` rather than on the zone tables of an engine, so that a day begins at the same instant everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from jaxtyping import Bool, Int32, Int64

from shift_assets.arrays import BoolArray, Int32Array, Int64Array

FIRST_YEAR, LAST_YEAR = 1990, 2100
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
EARLIEST_US = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US
LATEST_US = int(datetime(LAST_YEAR, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US
"""Event times are in [EARLIEST_US, LATEST_US), µs since 1970; an epoch read in the wrong unit is outside."""


@dataclass(frozen=True)
class LocalCalendar:
    """UTC offsets of one zone between 1990 and 2100.

    Attributes:
        changes: UTC instants (µs) of the clock changes.
        offsets: µs east of UTC before the first change and after each one.
    """

    changes: Int64[Int64Array, " change"] = field(repr=False)
    offsets: Int64[Int64Array, " change+1"] = field(repr=False)

    def to_utc(self, wall_us: Int64[Int64Array, " row"]) -> tuple[Int64[Int64Array, " row"], Bool[BoolArray, " row"]]:
        """Convert wall-clock times (µs) to UTC.

        Returns:
            The UTC instants (µs), the earlier one of a repeated time; and which times a clock change skipped.
        """
        last_wall = self.changes + self.offsets[:-1]
        offset_index = np.searchsorted(last_wall, wall_us, side="right")
        utc = wall_us - self.offsets[offset_index]
        regime_start = np.concatenate([[np.iinfo(np.int64).min], self.changes])[offset_index]
        return utc, utc < regime_start

    def to_day(self, utc_us: Int64[Int64Array, " row"]) -> Int32[Int32Array, " row"]:
        """Return the local calendar day (days since 1970-01-01) of each UTC instant (µs)."""
        offsets = self.offsets[np.searchsorted(self.changes, utc_us, side="right")]
        return ((utc_us + offsets) // DAY_US).astype(np.int32)


def _offset(zone: ZoneInfo, second: int) -> int:
    moment = datetime.fromtimestamp(second, tz=zone)
    return int((moment.utcoffset() or timedelta()).total_seconds())


@lru_cache(maxsize=64)
def local_calendar(timezone: str) -> LocalCalendar:
    """Return the calendar of an IANA zone. Clock changes are located to the second by bisection."""
    zone = ZoneInfo(timezone)
    seconds = range(EARLIEST_US // SECOND_US, LATEST_US // SECOND_US, 86_400)
    offset_of_day = [_offset(zone, second) for second in seconds]
    changes: list[int] = []
    offsets = [offset_of_day[0]]
    for second, before, after in zip(seconds, offset_of_day, offset_of_day[1:], strict=False):
        if before == after:
            continue
        low, high = second, second + 86_400
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
        changes.append(high)
        offsets.append(after)
    return LocalCalendar(np.array(changes, dtype=np.int64) * SECOND_US, np.array(offsets, dtype=np.int64) * SECOND_US)
