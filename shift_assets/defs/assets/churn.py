"""The calibration report of the churn warnings."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pyarrow as pa

from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.contracts.outcomes import CHURN_CALIBRATION
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.interest import STATE
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.workspace.workspace import Workspace


def churn_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    asset = TableAsset(
        table=CHURN_CALIBRATION,
        group="outcomes",
        deps=[dg.AssetDep(STATE, partition_mapping=keys.window(HORIZON_DAYS + 1))],
        compute=_calibration,
        sections=["schedule.refit_weekday"],
        metrics=lambda rows: {
            name: float(row[name])
            for row in rows.to_pylist()
            for name in ("brier", "brier_skill", "base_rate")
            if row[name] is not None
        },
    )
    return [build_asset(asset, keys.day_segment_partitions(workspace.settings, workspace.source), workspace.settings)]


def _calibration(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    """Once a week, on the refit weekday; a day whose state of four weeks before was not kept has no rows."""
    from shift_assets.churn.calibration import churn_calibration

    found = [CHURN_CALIBRATION.empty()]
    for day, segment in partitions:
        if day.weekday() == workspace.settings.schedule.refit_weekday:
            then = workspace.reader.read_day(INTEREST_STATE, day - timedelta(days=HORIZON_DAYS), segment)
            now = workspace.reader.read_day(INTEREST_STATE, day, segment)
            found.append(churn_calibration(then, now, day, segment))
    return pa.concat_tables(found)
