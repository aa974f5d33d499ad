"""The local calendar of a zone, on whole arrays: wall-clock times to UTC, and UTC to local days.

Built from `zoneinfo`, not from an engine's own zone tables, so that a day begins at the same instant everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shift_assets.arrays import Int64Array

FIRST_YEAR, LAST_YEAR = 1990, 2100
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
EARLIEST_US = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US
LATEST_US = int(datetime(LAST_YEAR, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US
"""An event lies in [EARLIEST_US, LATEST_US), µs of the Unix epoch; an epoch read in the wrong unit does not."""


@dataclass(frozen=True)
class LocalCalendar:
    """Offsets of one zone between 1990 and 2100.

    `changes[i]` is the UTC instant (µs) from which `offsets[i + 1]` (µs east of UTC) holds; `offsets[0]` before it.
    """

    changes: Int64Array = field(repr=False)
    offsets: Int64Array = field(repr=False)

    def to_utc(self, wall_us: Int64Array) -> tuple[Int64Array, NDArray[np.bool_]]:
        """UTC instants of wall-clock times, and which of these times a clock change skipped.

        Of the two instants of a repeated time the earlier is taken.
        """
        last_wall = self.changes + self.offsets[:-1]
        offset_index = np.searchsorted(last_wall, wall_us, side="right")
        utc = wall_us - self.offsets[offset_index]
        regime_start = np.concatenate([[np.iinfo(np.int64).min], self.changes])[offset_index]
        return utc, utc < regime_start

    def to_day(self, utc_us: Int64Array) -> NDArray[np.int32]:
        """Local calendar days of UTC instants, as days of the Unix epoch."""
        offsets = self.offsets[np.searchsorted(self.changes, utc_us, side="right")]
        return ((utc_us + offsets) // DAY_US).astype(np.int32)


def _offset(zone: ZoneInfo, second: int) -> int:
    moment = datetime.fromtimestamp(second, tz=zone)
    return int((moment.utcoffset() or timedelta()).total_seconds())


@lru_cache(maxsize=64)
def local_calendar(timezone: str) -> LocalCalendar:
    """The calendar of an IANA zone; its clock changes are found to the second by bisection of each day."""
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
