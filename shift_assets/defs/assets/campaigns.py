"""A day's recommendations arranged for campaigns: audiences of risen categories, and advertising slots per user."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.interest import ITEM_FEATURES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.recommendations import AD_SLOTS, CAMPAIGN_AUDIENCES, RECOMMENDATIONS
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.recommendations import RECOMMENDATIONS_KEY
from shift_assets.defs.assets.shift import ALERTS
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.workspace.workspace import Workspace


def campaign_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    partitions = keys.day_segment_partitions(workspace.settings, workspace.source)
    tables = [
        TableAsset(
            table=table,
            group="recommendations",
            deps=[RECOMMENDATIONS_KEY, ALERTS, ITEM_FEATURES.name],
            compute=compute,
            metrics=lambda rows: {"users": float(pc.count_distinct(rows["user_id"]).as_py())},
        )
        for table, compute in ((CAMPAIGN_AUDIENCES, _campaign_audiences), (AD_SLOTS, _ad_slots))
    ]
    return [build_asset(asset, partitions, workspace.settings) for asset in tables]


def _campaign_audiences(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.recommend.campaigns import campaign_audiences

    return pa.concat_tables([campaign_audiences(*_read(workspace, partition), *partition) for partition in partitions])


def _ad_slots(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.recommend.campaigns import ad_slots

    return pa.concat_tables([ad_slots(*_read(workspace, partition), *partition) for partition in partitions])


def _read(workspace: Workspace, partition: Partition) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Recommendations, alerts and item features of the partition."""
    return (
        workspace.reader.read_day(RECOMMENDATIONS, *partition),
        workspace.reader.read_day(SHIFT_ALERTS, *partition),
        workspace.reader.read_day(ITEM_FEATURES, *partition),
    )
