"""The lists of a day from the campaign's side: audiences of risen categories, and advertising slots per user."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets import partitions as keys
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.assets.recommendations import LISTS
from shift_assets.assets.shift import ALERTS
from shift_assets.contracts import (
    AD_SLOTS,
    CAMPAIGN_AUDIENCES,
    ITEM_FEATURES,
    RECOMMENDATIONS,
    SHIFT_ALERTS,
    Partition,
)
from shift_assets.resources.platform import Platform


def campaign_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    partitions = keys.day_segment_partitions(platform.settings, platform.source)
    tables = [
        TableAsset(
            table=table,
            group="recommendations",
            kinds=frozenset({"numpy"}),
            deps=[LISTS, ALERTS, ITEM_FEATURES.name],
            compute=compute,
            metrics=lambda rows: {"users": float(pc.count_distinct(rows["user_id"]).as_py())},
        )
        for table, compute in ((CAMPAIGN_AUDIENCES, _campaign_audiences), (AD_SLOTS, _ad_slots))
    ]
    return [build(asset, partitions, platform.settings) for asset in tables]


def _campaign_audiences(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.recommend.campaigns import campaign_audiences

    return pa.concat_tables([campaign_audiences(*_read(platform, partition), *partition) for partition in partitions])


def _ad_slots(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.recommend.campaigns import ad_slots

    return pa.concat_tables([ad_slots(*_read(platform, partition), *partition) for partition in partitions])


def _read(platform: Platform, partition: Partition) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Lists, alarms and item features of the partition."""
    day, segment = partition
    return (
        platform.read(RECOMMENDATIONS, day, day, [segment]),
        platform.read(SHIFT_ALERTS, day, day, [segment]),
        platform.read(ITEM_FEATURES, day, day, [segment]),
    )
