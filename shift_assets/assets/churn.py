"""The calibration report of the churn warnings."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pyarrow as pa

from shift_assets import partitions as keys
from shift_assets.assets.interest import STATE
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.contracts import CHURN_CALIBRATION, INTEREST_STATE, Partition
from shift_assets.resources.platform import Platform
from shift_assets.shift.churn import HORIZON_DAYS


def churn_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    asset = TableAsset(
        table=CHURN_CALIBRATION,
        group="outcomes",
        kinds=frozenset({"numpy", "scipy"}),
        deps=[dg.AssetDep(STATE, partition_mapping=keys.window(HORIZON_DAYS + 1))],
        compute=_calibration,
        sections=["churn", "forecast"],
        metrics=lambda rows: {
            name: float(row[name])
            for row in rows.to_pylist()
            for name in ("brier", "brier_skill", "base_rate")
            if row[name] is not None
        },
    )
    return [build(asset, keys.day_segment_partitions(platform.settings, platform.source), platform.settings)]


def _calibration(platform: Platform, partitions: list[Partition]) -> pa.Table:
    """Once a week, on the refit weekday; a day whose state of four weeks before was not kept has no rows."""
    from shift_assets.evaluate.churn import churn_calibration

    found = [CHURN_CALIBRATION.empty()]
    for day, segment in partitions:
        if day.weekday() == platform.settings.forecast.refit_weekday:
            then, now = (
                platform.read(INTEREST_STATE, looked, looked, [segment])
                for looked in (day - timedelta(days=HORIZON_DAYS), day)
            )
            found.append(churn_calibration(then, now, day, segment, platform.settings.churn))
    return pa.concat_tables(found)
