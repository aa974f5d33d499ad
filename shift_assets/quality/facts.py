"""Expectations that need more than a partition's own rows: its source files, earlier weeks, its users' segments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import NamedTuple

import duckdb
import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.quality.suites import ACCOUNTING, REJECTED_SHARE, REJECTED_SHARE_LIMIT, SEGMENT_STABLE, VOLUME

_WEEKS = 28
_MINIMUM_WEEKS = 4
_ROBUST_DEVIATIONS = 4.0
_MINIMUM_FACTOR = 2.0
"""A day's volume is only unusual if it differs by at least this factor, however steady the weeks before were."""
_MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class CleaningFacts:
    """What is known besides the clean events of the validated partitions."""

    delivered: Mapping[Partition, int]
    """Raw rows that belong to each partition, clean or not."""
    rejected: Mapping[Partition, int]
    rows_before: Mapping[Partition, int] = field(default_factory=dict)
    """Clean rows of the earlier partitions of the same segments that exist."""
    users_before: pa.Table | None = None
    """day, segment, user_id of events in the look-back period before them, in any segment."""
    look_back_days: int = 90


class Measurement(NamedTuple):
    """A quantity that meets its expectation if it is at most 0, and the observation in words."""

    excess: float
    observed: str


def measure_facts(
    facts: CleaningFacts, rows: Mapping[Partition, int], moved_users: Mapping[Partition, int], partition: Partition
) -> dict[str, Measurement]:
    """Measure every fact about a partition.

    Args:
        facts: What is known besides the clean events.
        rows: Clean rows of each validated partition.
        moved_users: From `moved_users`.
        partition: The partition to measure.

    Returns:
        A measurement by the name of its expectation.
    """
    count = rows[partition]
    delivered, rejected = facts.delivered.get(partition, 0), facts.rejected.get(partition, 0)
    share = rejected / delivered if delivered else 0.0
    moved = moved_users.get(partition, 0)
    return {
        ACCOUNTING: Measurement(
            abs(delivered - count - rejected), f"{delivered:,} delivered, {count:,} clean, {rejected:,} rejected"
        ),
        REJECTED_SHARE: Measurement(max(0.0, share - REJECTED_SHARE_LIMIT), f"{share:.1%} of {delivered:,} rows"),
        VOLUME: _volume(count, partition, {**facts.rows_before, **rows}),
        SEGMENT_STABLE: Measurement(moved, f"{moved:,} users"),
    }


def moved_users(connection: duckdb.DuckDBPyConnection, facts: CleaningFacts) -> dict[Partition, int]:
    """Count the users of each partition of the relation `checked` who recently were in another segment."""
    seen = "select distinct day, segment, user_id from checked"
    if facts.users_before is not None:
        connection.register("users_before", facts.users_before.select(["day", "segment", "user_id"]))
        seen += " union select day, segment, user_id from users_before"
    moved = connection.execute(
        f"""
        with seen as materialized ({seen}),
        wanderer as (select user_id from seen group by user_id having count(distinct segment) > 1),
        visit as (select * from seen semi join wanderer using (user_id))
        select later.day, later.segment, count(distinct later.user_id)
        from (select distinct day, segment, user_id from checked semi join wanderer using (user_id)) later
        join visit earlier on earlier.user_id = later.user_id and earlier.segment <> later.segment
            and earlier.day < later.day and earlier.day >= later.day - {int(facts.look_back_days)}
        group by all
        """  # noqa: S608 - made of constants and an integer
    ).fetchall()
    return {Partition(day, segment): count for day, segment, count in moved}


def _volume(count: int, partition: Partition, rows: Mapping[Partition, int]) -> Measurement:
    """Measure how far the log of the row count is from the median of earlier same weekdays, beyond the usual range."""
    weeks = [
        rows.get(Partition(partition.day - timedelta(weeks=week), partition.segment), 0)
        for week in range(1, _WEEKS + 1)
    ]
    logs = [math.log1p(number) for number in weeks if number]
    if len(logs) < _MINIMUM_WEEKS:
        return Measurement(0.0, f"{count:,} rows; {len(logs)} same weekdays before, too few to compare")
    centre = median(logs)
    deviation = _MAD_TO_DEVIATION * median(abs(value - centre) for value in logs)
    usual = max(_ROBUST_DEVIATIONS * deviation, math.log(_MINIMUM_FACTOR))
    observed = f"{count:,} rows, median of {len(logs)} same weekdays before {math.expm1(centre):,.0f}"
    return Measurement(max(0.0, abs(math.log1p(count) - centre) - usual), observed)
