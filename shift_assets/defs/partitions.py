"""The only module that knows how a partition key is built and parsed, and which partitions depend on which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import dagster as dg

from shift_assets.contracts.partition import SEGMENT_PATTERN, Partition
from shift_assets.defs.dagster_private import RANGE_END_TAG, RANGE_START_TAG
from shift_assets.ingest.source.config import Source
from shift_assets.settings.root import Settings

DAY, SEGMENT = "day", "segment"
FIRST_DAY_OF_AN_UNSET_CALENDAR = date(2020, 1, 1)

_KEY = re.compile(rf"(?P<day>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})\|(?P<segment>{SEGMENT_PATTERN.strip('^$')})")


def first_day(settings: Settings) -> date:
    """First partition day of the installation."""
    return settings.calendar.first_day or FIRST_DAY_OF_AN_UNSET_CALENDAR


def day_partitions(settings: Settings, source: Source) -> dg.DailyPartitionsDefinition:
    """The shop's local calendar days; open at the end unless the settings close it."""
    last = settings.calendar.last_day
    return dg.DailyPartitionsDefinition(
        start_date=first_day(settings).isoformat(),
        end_date=(last + timedelta(days=1)).isoformat() if last else None,
        timezone=source.timezone,
    )


def day_segment_partitions(settings: Settings, source: Source) -> dg.MultiPartitionsDefinition:
    """Day x user segment. Dagster orders dimensions by name: `day` sorts before `segment`, so time comes first."""
    return dg.MultiPartitionsDefinition(
        {
            DAY: day_partitions(settings, source),
            SEGMENT: dg.StaticPartitionsDefinition(list(source.segment_keys)),
        }
    )


def key_of(partition: Partition) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({DAY: partition.day.isoformat(), SEGMENT: partition.segment})


def parse_key(key: str) -> Partition:
    """The partition that `key` ("2026-01-31|uk") names; raises ValueError for anything else."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise ValueError(f"{key!r} is no partition key: expected <day>|<segment>, such as 2026-01-31|uk")
    return Partition(date.fromisoformat(found["day"]), found["segment"])


def requested(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[Partition]:
    """The partitions that this step was asked for, in order of day, then segment."""
    return sorted(parse_key(str(key)) for key in context.partition_keys)


def range_tags(partitions: Iterable[Partition], segment_order: Sequence[str]) -> dict[str, str]:
    """Run tags that ask, in one run, for the rectangle of days and segments that `partitions` span.

    Dagster's ranges follow the order in which segments are declared: those between two asked ones are asked too.
    `shift/days` and `shift/segments` say the same to a person who reads the list of runs.
    """
    asked = list(partitions)
    days = [partition.day for partition in asked]
    order = list(segment_order)
    positions = [order.index(partition.segment) for partition in asked]
    segments = order[min(positions) : max(positions) + 1]
    return {
        "shift/days": f"{min(days)}..{max(days)}",
        "shift/segments": ", ".join(segments),
        RANGE_START_TAG: str(key_of(Partition(min(days), segments[0]))),
        RANGE_END_TAG: str(key_of(Partition(max(days), segments[-1]))),
    }


def _mapping(day_mapping: dg.PartitionMapping) -> dg.MultiPartitionMapping:
    return dg.MultiPartitionMapping(
        {
            DAY: dg.DimensionPartitionMapping(DAY, day_mapping),
            SEGMENT: dg.DimensionPartitionMapping(SEGMENT, dg.IdentityPartitionMapping()),
        }
    )


def window(days: int) -> dg.MultiPartitionMapping:
    """The day itself and the `days - 1` before it, same segment."""
    return _mapping(
        dg.TimeWindowPartitionMapping(
            start_offset=-(days - 1), end_offset=0, allow_nonexistent_upstream_partitions=True
        )
    )


def window_before(days: int) -> dg.MultiPartitionMapping:
    """The `days` days before the day, same segment."""
    return _mapping(
        dg.TimeWindowPartitionMapping(start_offset=-days, end_offset=-1, allow_nonexistent_upstream_partitions=True)
    )


def window_of_all_segments(days: int) -> dg.MultiPartitionMapping:
    """The day itself and the `days - 1` before it, every segment."""
    over_days = dg.TimeWindowPartitionMapping(
        start_offset=-(days - 1), end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return dg.MultiPartitionMapping(
        {
            DAY: dg.DimensionPartitionMapping(DAY, over_days),
            SEGMENT: dg.DimensionPartitionMapping(SEGMENT, dg.AllPartitionMapping()),
        }
    )


def window_between(oldest: int, newest: int) -> dg.MultiPartitionMapping:
    """The days from `oldest` to `newest` days before the day, same segment."""
    return _mapping(
        dg.TimeWindowPartitionMapping(
            start_offset=-oldest, end_offset=-newest, allow_nonexistent_upstream_partitions=True
        )
    )


def days_ago(days: int) -> dg.MultiPartitionMapping:
    """The one day that lies `days` before, same segment."""
    return _mapping(
        dg.TimeWindowPartitionMapping(start_offset=-days, end_offset=-days, allow_nonexistent_upstream_partitions=True)
    )


def same_day() -> dg.PartitionMapping:
    """The same day, between an asset of days and one of days and segments."""
    return dg.MultiToSingleDimensionPartitionMapping(DAY)


def first_day_only(settings: Settings) -> dg.PartitionMapping:
    """Every day and segment depends on the first day's partition of a day-only asset, which is frozen there."""
    return dg.SpecificPartitionsPartitionMapping([first_day(settings).isoformat()])


def days_read_before(mapping: dg.PartitionMapping | None) -> int:
    """How many days before its own a partition reads, by one of the mappings of this module; none by any other."""
    if not isinstance(mapping, dg.MultiPartitionMapping):
        return 0
    of_day = mapping.downstream_mappings_by_upstream_dimension[DAY].partition_mapping
    return -of_day.start_offset if isinstance(of_day, dg.TimeWindowPartitionMapping) else 0
