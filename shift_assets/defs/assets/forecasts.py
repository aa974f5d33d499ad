"""Forecasts of the coming week's interest, and the weekly evaluation that chooses the model that makes them."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.forecast import FORECAST_QUALITY, INTEREST_FORECASTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.interest import SERIES
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.workspace.workspace import Workspace

GROUP = "forecast"
DAYS_BETWEEN_REFITS = 7
FORECASTS = INTEREST_FORECASTS.name


def forecast_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
    window = keys.window(settings.forecast.window_days)
    tables = [
        TableAsset(
            table=INTEREST_FORECASTS,
            group=GROUP,
            deps=[
                dg.AssetDep(SERIES, partition_mapping=window),
                dg.AssetDep(FORECAST_QUALITY.name, partition_mapping=keys.window(DAYS_BETWEEN_REFITS)),
            ],
            compute=_forecasts,
            sections=["forecast", "schedule.refit_weekday", "seed"],
            metrics=_users_by_model,
        ),
        TableAsset(
            table=FORECAST_QUALITY,
            group=GROUP,
            deps=[dg.AssetDep(SERIES, partition_mapping=window)],
            compute=_quality,
            sections=["forecast", "schedule.refit_weekday", "seed"],
            metrics=lambda rows: {
                f"r2_{row['model']}": row["r2"]
                for row in rows.select(["model", "r2"]).to_pylist()
                if row["r2"] is not None
            },
        ),
    ]
    partitions = keys.day_segment_partitions(settings, workspace.source)
    return [build_asset(asset, partitions, settings) for asset in tables]


def _forecasts(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.forecast.interest_forecasts import interest_forecasts

    settings, found = workspace.settings, [INTEREST_FORECASTS.empty()]
    weekday = settings.schedule.refit_weekday
    quality = workspace.reader.read_window(
        FORECAST_QUALITY, days_of(partitions), segments_of(partitions), DAYS_BETWEEN_REFITS
    )
    for segment in segments_of(partitions):
        days = [partition.day for partition in partitions if partition.segment == segment]
        series = workspace.reader.read_window(INTEREST_SERIES, days, [segment], settings.forecast.window_days)
        found.append(
            interest_forecasts(
                series, days, segment, settings.forecast, settings.seed, refit_weekday=weekday, quality=quality
            )
        )
    return pa.concat_tables(found)


def _users_by_model(rows: pa.Table) -> dict[str, float]:
    """Users with a forecast, in all and by the model that made it."""
    users = rows.group_by("model").aggregate([("user_id", "count_distinct")]).to_pylist()
    return {
        "users": float(pc.count_distinct(rows["user_id"]).as_py()),
        **{f"users_{row['model']}": float(row["user_id_count_distinct"]) for row in users},
    }


def _quality(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.forecast.interest_forecasts import last_refit
    from shift_assets.outcomes.forecasts import forecast_quality

    settings, found = workspace.settings, [FORECAST_QUALITY.empty()]
    weekday = settings.schedule.refit_weekday
    refits = [day for day in days_of(partitions) if last_refit(day, weekday) == day]
    for segment in segments_of(partitions) if refits else []:
        series = workspace.reader.read_window(INTEREST_SERIES, refits, [segment], settings.forecast.window_days)
        found += [
            forecast_quality(series, day, segment, settings.forecast, settings.seed, refit_weekday=weekday)
            for day in refits
        ]
    return pa.concat_tables(found)
