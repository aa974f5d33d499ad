"""The interest model of a day and segment, and what it foretells of users."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from shift_assets import partitions as keys
from shift_assets.assets.intake import CLEAN
from shift_assets.assets.publishing import TableAsset, build
from shift_assets.contracts import CLEAN_EVENTS, MODEL_PREDICTIONS, MODEL_REGISTRY, Partition
from shift_assets.resources.platform import Platform, days_of, segments_of

MODEL = "interest_model"
CHUNK_DAYS = 7
"""A week of trained models is registered together: what a killed run loses is a few minutes."""


def model_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    settings = platform.settings
    asset = TableAsset(
        table=MODEL_REGISTRY,
        name=MODEL,
        group="models",
        kinds=frozenset({"torch"}),
        deps=[dg.AssetDep(CLEAN, partition_mapping=keys.window_before(settings.model.window_days))],
        compute=_trained,
        code=["shift_assets.models"],
        sections=["model", "tasks", "interest", "seed"],
        metrics=lambda rows: {metric["name"]: metric["value"] for row in rows.to_pylist() for metric in row["metrics"]},
        single_run=False,
        pool="gpu",
        chunk_days=CHUNK_DAYS,
    )
    foretold = TableAsset(
        table=MODEL_PREDICTIONS,
        group="models",
        kinds=frozenset({"torch"}),
        deps=[dg.AssetDep(CLEAN, partition_mapping=keys.window(settings.model.window_days)), MODEL],
        compute=_foretold,
        code=["shift_assets.models"],
        sections=["model"],
        metrics=lambda rows: {"users": float(rows.num_rows)},
        chunk_days=CHUNK_DAYS,
    )
    partitions = keys.day_segment_partitions(settings, platform.source)
    return [build(each, partitions, settings) for each in (asset, foretold)]


def _foretold(platform: Platform, partitions: list[Partition]) -> pa.Table:
    from shift_assets.models.predictions import predictions
    from shift_assets.models.store import load

    settings, rows = platform.settings, [MODEL_PREDICTIONS.empty()]
    days, window_days = days_of(partitions), settings.model.window_days
    windows = {s: platform.read_window(CLEAN_EVENTS, days, [s], window_days) for s in segments_of(partitions)}
    for day, segment in partitions:
        served = newest_of(registered(platform, segment, day), segment)
        if served is not None:
            model = load(settings.models / served["path"], served["digest"])
            rows.append(predictions(windows[segment], day, segment, model, window_days))
    return pa.concat_tables(rows)


def _trained(platform: Platform, partitions: list[Partition]) -> pa.Table:
    """Trains the partitions in order of day; each starts from the newest model of an earlier day."""
    from shift_assets.models.store import save
    from shift_assets.models.training import train

    settings = platform.settings
    rows = [MODEL_REGISTRY.empty()]
    days = days_of(partitions)
    first, last = days[0] - timedelta(days=settings.model.window_days), days[-1] - timedelta(days=1)
    events = {segment: platform.read(CLEAN_EVENTS, first, last, [segment]) for segment in segments_of(partitions)}
    for day, segment in partitions:
        earlier = pa.concat_tables([*rows, registered(platform, segment, day - timedelta(days=1))])
        newest = newest_of(earlier, segment)
        trained = train(
            events[segment],
            day,
            settings.model,
            seed=settings.seed,
            tasks=settings.tasks,
            weights=settings.interest.weights,
            warm_start=settings.models / newest["path"] if newest else None,
            log_dir=settings.home / "tensorboard" / segment / day.isoformat(),
        )
        if trained.model is not None:
            rows.append(save(trained.model, trained.card, settings.models, segment))
    return pa.concat_tables(rows)


def registered(platform: Platform, segment: str, last_day: date) -> pa.Table:
    """The registry's rows of `segment` up to and with `last_day`."""
    return platform.lake.read(MODEL_REGISTRY, last_day=last_day, segments=[segment])


def newest_of(registry: pa.Table, segment: str) -> dict[str, Any] | None:
    """The registry row of the newest promoted model of `segment`; None where there is none."""
    rows = [row for row in registry.to_pylist() if row["segment"] == segment and row["promoted"] is not False]
    return max(rows, key=lambda row: row["served_from"], default=None)
