"""Forecasts of the coming week's interest, and the weekly evaluation of the member that makes them."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets import partitions as keys
from shift_assets.assets.interest import SERIES
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.contracts import FORECAST_QUALITY, INTEREST_FORECASTS, INTEREST_SERIES, Partition
from shift_assets.resources.platform import Platform, days_of, segments_of

GROUP = "forecast"
FORECASTS = INTEREST_FORECASTS.name


def forecast_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    settings = platform.settings
    window = keys.window(settings.forecast.window_days)
    tables = [
        TableAsset(
            table=INTEREST_FORECASTS,
            group=GROUP,
            kinds=frozenset({"numpy"}),
            deps=[dg.AssetDep(SERIES, partition_mapping=window)],
            compute=_forecasts,
            sections=["forecast", "seed"],
            metrics=lambda rows: {"users": float(pc.count_distinct(rows["user_id"]).as_py())},
        ),
        TableAsset(
            table=FORECAST_QUALITY,
            group=GROUP,
            kinds=frozenset({"scikitlearn"}),
            deps=[dg.AssetDep(SERIES, partition_mapping=window)],
            compute=_quality,
            sections=["forecast", "seed"],
            metrics=lambda rows: {
                f"r2_{row['model']}": row["r2"]
                for row in rows.select(["model", "r2"]).to_pylist()
                if row["r2"] is not None
            },
        ),
    ]
    partitions = keys.day_segment_partitions(settings, platform.source)
    return [build(asset, partitions, settings) for asset in tables]


def _forecasts(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.forecast.forecasts import interest_forecasts

    settings, found = platform.settings, [INTEREST_FORECASTS.empty()]
    for segment in segments_of(partitions):
        days = [partition.day for partition in partitions if partition.segment == segment]
        series = platform.read_window(INTEREST_SERIES, days, [segment], settings.forecast.window_days)
        found.append(interest_forecasts(series, days, segment, settings.forecast, settings.seed))
    return pa.concat_tables(found)


def _quality(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.evaluate.forecasts import forecast_quality
    from shift_assets.forecast.forecasts import last_refit

    settings, found = platform.settings, [FORECAST_QUALITY.empty()]
    refits = [day for day in days_of(partitions) if last_refit(day, settings.forecast) == day]
    for segment in segments_of(partitions) if refits else []:
        series = platform.read_window(INTEREST_SERIES, refits, [segment], settings.forecast.window_days)
        found += [forecast_quality(series, day, segment, settings.forecast, settings.seed) for day in refits]
    return pa.concat_tables(found)
