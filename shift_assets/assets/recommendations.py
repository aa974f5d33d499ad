"""Recommendation lists, one per user active lately."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa

from shift_assets import partitions as keys
from shift_assets.assets.intake import CLEAN
from shift_assets.assets.models import MODEL, newest_of, registered
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.assets.shift import ALERTS
from shift_assets.contracts import CLEAN_EVENTS, RECOMMENDATIONS, SHIFT_ALERTS, Partition
from shift_assets.resources.platform import Platform, days_of, segments_of

LISTS = RECOMMENDATIONS.name
CHUNK_DAYS = 7


def recommendation_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    settings = platform.settings
    asset = TableAsset(
        table=RECOMMENDATIONS,
        group="recommendations",
        kinds=frozenset({"torch", "scipy"}),
        deps=[
            dg.AssetDep(CLEAN, partition_mapping=keys.window(settings.recommendations.look_back_days)),
            MODEL,
            ALERTS,
        ],
        compute=_lists,
        code=["shift_assets.recommend", "shift_assets.models.scoring"],
        sections=["recommendations"],
        metrics=lambda rows: {"users": float(len(rows["user_id"].unique()))},
        chunk_days=CHUNK_DAYS,
    )
    return [build(asset, keys.day_segment_partitions(settings, platform.source), settings)]


def _lists(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.models.store import load
    from shift_assets.recommend.recommend import recommend

    settings = platform.settings
    lists = [RECOMMENDATIONS.empty()]
    days, look_back = days_of(partitions), settings.recommendations.look_back_days
    windows = {s: platform.read_window(CLEAN_EVENTS, days, [s], look_back) for s in segments_of(partitions)}
    for day, segment in partitions:
        served = newest_of(registered(platform, segment, day), segment)
        model = load(settings.models / served["path"], served["digest"]) if served else None
        alerts = platform.read(SHIFT_ALERTS, day, day, [segment])
        lists.append(
            recommend(
                windows[segment],
                day,
                segment,
                model=model,
                alerts_of_day=alerts,
                settings=settings.recommendations,
                language=settings.alerts.language,
            )
        )
    return pa.concat_tables(lists)
