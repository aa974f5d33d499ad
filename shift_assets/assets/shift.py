"""Shift signals and alarms of users, and the shifts of whole segments."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets import partitions as keys
from shift_assets.assets.intake import CLEAN
from shift_assets.assets.interest import SERIES, STATE
from shift_assets.assets.pictures import alarms_by_day, signal_distribution
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.contracts import (
    CLEAN_EVENTS,
    INTEREST_SERIES,
    INTEREST_STATE,
    SEGMENT_SHIFTS,
    SHIFT_ALERTS,
    SHIFT_SIGNALS,
    Partition,
)
from shift_assets.resources.platform import Platform, days_of, segments_of

GROUP = "shift"
SIGNALS, ALERTS = SHIFT_SIGNALS.name, SHIFT_ALERTS.name
SEGMENT_WINDOW_DAYS = 35
"""Seven recent days and the twenty-eight before."""
CHUNK_DAYS = 14
"""State snapshots hold every user: two weeks of them at a time."""


def shift_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    partitions = keys.day_segment_partitions(platform.settings, platform.source)
    window = keys.window(SEGMENT_WINDOW_DAYS)
    tables = [
        TableAsset(
            table=SHIFT_SIGNALS,
            group=GROUP,
            kinds=frozenset({"numpy"}),
            deps=[STATE],
            compute=_signals,
            code=["shift_assets.shift"],
            sections=["state", "signals"],
            metrics=lambda rows: {
                name: float(found)
                for name in ("interest_gap", "distribution_distance")
                if (found := pc.mean(rows[name]).as_py()) is not None
            },
            picture=signal_distribution,
            chunk_days=CHUNK_DAYS,
        ),
        TableAsset(
            table=SHIFT_ALERTS,
            group=GROUP,
            kinds=frozenset({"numpy"}),
            deps=[STATE, SIGNALS],
            compute=_alerts,
            code=["shift_assets.shift"],
            sections=["state", "signals", "alerts"],
            metrics=lambda rows: {
                f"alarms_{status}": float(pc.sum(pc.equal(rows["status"], status)).as_py() or 0)
                for status in ("opened", "continued", "closed")
            },
            picture=alarms_by_day,
            chunk_days=CHUNK_DAYS,
        ),
        TableAsset(
            table=SEGMENT_SHIFTS,
            group=GROUP,
            kinds=frozenset({"duckdb"}),
            deps=[dg.AssetDep(SERIES, partition_mapping=window), dg.AssetDep(CLEAN, partition_mapping=window)],
            compute=_segment_shifts,
            code=["shift_assets.shift"],
        ),
    ]
    return [build(asset, partitions, platform.settings) for asset in tables]


def _signals(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.signals import shift_signals

    return shift_signals(_states(platform, partitions), platform.settings)


def _alerts(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.alerts import shift_alerts

    days = days_of(partitions)
    signals = platform.read(SHIFT_SIGNALS, days[0], days[-1], segments_of(partitions))
    return shift_alerts(_states(platform, partitions), signals, platform.settings)


def _states(platform: Platform, partitions: list[Partition]) -> pa.Table:
    platform.lake.require(INTEREST_STATE, partitions)
    days = days_of(partitions)
    return platform.read(INTEREST_STATE, days[0], days[-1], segments_of(partitions))


def _segment_shifts(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.shift.segments import segment_shifts

    days, segments = days_of(partitions), segments_of(partitions)
    series = platform.read_window(INTEREST_SERIES, days, segments, SEGMENT_WINDOW_DAYS)
    events = platform.read_window(CLEAN_EVENTS, days, segments, SEGMENT_WINDOW_DAYS)
    return pa.concat_tables([segment_shifts(series, events, day, segment) for day, segment in partitions])
