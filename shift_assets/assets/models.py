"""The interest model of a day and segment, and what it foretells of users."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from shift_assets import partitions as keys
from shift_assets.assets.failures import final_unless_transient
from shift_assets.assets.intake import CLEAN
from shift_assets.assets.publishing import OWNER, TRANSIENT_RETRY, TableAsset, build, version
from shift_assets.contracts import CLEAN_EVENTS, MODEL_PREDICTIONS, MODEL_REGISTRY, Partition
from shift_assets.resources.platform import Platform, days_of, segments_of

if TYPE_CHECKING:
    from shift_assets.models.training import TrainedModel

MODEL = "interest_model"
BASE_MODEL = "base_model"
CHUNK_DAYS = 7
"""A week of trained models is registered together: what a killed run loses is a few minutes."""


def model_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    settings = platform.settings
    asset = TableAsset(
        table=MODEL_REGISTRY,
        name=MODEL,
        group="models",
        kinds=frozenset({"torch"}),
        deps=[
            dg.AssetDep(CLEAN, partition_mapping=keys.window_before(settings.model.window_days)),
            dg.AssetDep(BASE_MODEL, partition_mapping=keys.same_day()),
        ],
        compute=_trained,
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
        sections=["model"],
        metrics=lambda rows: {"users": float(rows.num_rows)},
        chunk_days=CHUNK_DAYS,
    )
    partitions = keys.day_segment_partitions(settings, platform.source)
    return [_base_model(platform), *(build(each, partitions, settings) for each in (asset, foretold))]


def _base_model(platform: Platform) -> dg.AssetsDefinition:
    settings, source = platform.settings, platform.source

    @dg.asset(
        name=BASE_MODEL,
        partitions_def=keys.day_partitions(settings, source),
        deps=[dg.AssetDep(CLEAN, partition_mapping=keys.same_day())],
        group_name="models",
        kinds={"torch"},
        owners=[OWNER],
        code_version=version(_pooled, settings, ["model", "seed"]),
        retry_policy=TRANSIENT_RETRY,
        pool="gpu",
        description=(
            "**Grain**: one next-item model of all segments together, trained on the window before the day.\n\n"
            "A segment's own model starts from the newest one of the day or before, where it has none yet, and on the "
            "days of retraining: a segment of few users learns the items from all.\n\n**Read by**: interest_model."
        ),
    )
    def base_model(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult:
        from shift_assets.models.store import POOLED, drop_others_of_day, save

        with final_unless_transient():
            settings, trained = platform.settings, _pooled(platform, date.fromisoformat(context.partition_key))
            if trained.model is None:
                return dg.MaterializeResult(metadata={"outcome": trained.card.outcome})
            row = save(trained.model, trained.card, settings.models, POOLED).to_pylist()[0]
            drop_others_of_day(settings.models / row["path"])
        return dg.MaterializeResult(
            data_version=dg.DataVersion(row["version"]),
            metadata={"outcome": trained.card.outcome, "path": row["path"], **trained.card.metrics},
        )

    return base_model


def _pooled(platform: Platform, day: date) -> "TrainedModel":
    from shift_assets.models.training import train

    settings = platform.settings
    first, last = day - timedelta(days=settings.model.window_days), day - timedelta(days=1)
    events = platform.read(CLEAN_EVENTS, first, last, platform.source.segment_keys)
    return train(events, day, settings.model, seed=settings.seed)


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
    from shift_assets.models.store import newest_base, save
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
            base=newest_base(settings.models, day),
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
