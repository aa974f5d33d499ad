"""The interest model of a day and segment, and what it foretells of users."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.models import MODEL_PREDICTIONS, MODEL_REGISTRY
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.failures import final_unless_transient
from shift_assets.defs.publishing import version
from shift_assets.defs.table_asset import OWNER, TRANSIENT_RETRY, TableAsset, build_asset
from shift_assets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from shift_assets.models.training.train import TrainedModel

MODEL = "interest_model"
BASE_MODEL = "base_model"
CHUNK_DAYS = 7
"""A week of trained models is registered together: what a killed run loses is a few minutes."""


def model_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
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
    prediction_asset = TableAsset(
        table=MODEL_PREDICTIONS,
        group="models",
        kinds=frozenset({"torch"}),
        deps=[dg.AssetDep(CLEAN, partition_mapping=keys.window(settings.model.window_days)), MODEL],
        compute=_predicted,
        sections=["model"],
        metrics=lambda rows: {"users": float(rows.num_rows)},
        chunk_days=CHUNK_DAYS,
    )
    partitions = keys.day_segment_partitions(settings, workspace.source)
    return [_base_model(workspace), *(build_asset(each, partitions, settings) for each in (asset, prediction_asset))]


def _base_model(workspace: Workspace) -> dg.AssetsDefinition:
    settings, source = workspace.settings, workspace.source

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
    def base_model(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
        from shift_assets.models.registry.store import ALL_SEGMENTS, remove_other_models_of_day, save

        with final_unless_transient():
            settings, trained = workspace.settings, _pooled(workspace, date.fromisoformat(context.partition_key))
            if trained.model is None:
                return dg.MaterializeResult(metadata={"outcome": trained.card.outcome})
            row = save(trained.model, trained.card, settings.models, ALL_SEGMENTS).to_pylist()[0]
            remove_other_models_of_day(settings.models / row["path"])
        return dg.MaterializeResult(
            data_version=dg.DataVersion(row["version"]),
            metadata={"outcome": trained.card.outcome, "path": row["path"], **trained.card.metrics},
        )

    return base_model


def _pooled(workspace: Workspace, day: date) -> "TrainedModel":
    from shift_assets.models.training.train import train

    settings = workspace.settings
    first, last = day - timedelta(days=settings.model.window_days), day - timedelta(days=1)
    events = workspace.reader.read(CLEAN_EVENTS, first, last, workspace.source.segment_keys)
    return train(events, day, settings.model, seed=settings.seed)


def _predicted(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.models.inference.predictions import predictions
    from shift_assets.models.network.threads import torch_threads
    from shift_assets.models.registry.store import load

    settings, rows = workspace.settings, [MODEL_PREDICTIONS.empty()]
    days, window_days = days_of(partitions), settings.model.window_days
    windows = {s: workspace.reader.read_window(CLEAN_EVENTS, days, [s], window_days) for s in segments_of(partitions)}
    for day, segment in partitions:
        served = newest_of(registered(workspace, segment, day), segment)
        if served is not None:
            model = load(settings.models / served["path"], served["digest"])
            with torch_threads(settings.model.threads):
                rows.append(predictions(windows[segment], day, segment, model, window_days))
    return pa.concat_tables(rows)


def _trained(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    """Trains the partitions in order of day; each starts from the newest model of an earlier day."""
    from shift_assets.models.registry.store import newest_pooled_model, save
    from shift_assets.models.training.train import train

    settings = workspace.settings
    rows = [MODEL_REGISTRY.empty()]
    days = days_of(partitions)
    first, last = days[0] - timedelta(days=settings.model.window_days), days[-1] - timedelta(days=1)
    events = {
        segment: workspace.reader.read(CLEAN_EVENTS, first, last, [segment]) for segment in segments_of(partitions)
    }
    for day, segment in partitions:
        earlier = pa.concat_tables([*rows, registered(workspace, segment, day - timedelta(days=1))])
        newest = newest_of(earlier, segment)
        trained = train(
            events[segment],
            day,
            settings.model,
            seed=settings.seed,
            tasks=settings.tasks,
            weights=settings.interest.weights,
            warm_start=settings.models / newest["path"] if newest else None,
            base=newest_pooled_model(settings.models, day),
            log_dir=settings.home / "tensorboard" / segment / day.isoformat(),
        )
        if trained.model is not None:
            rows.append(save(trained.model, trained.card, settings.models, segment))
    return pa.concat_tables(rows)


def registered(workspace: Workspace, segment: str, last_day: date) -> pa.Table:
    """The registry's rows of `segment` up to and with `last_day`."""
    return workspace.lake.read(MODEL_REGISTRY, last_day=last_day, segments=[segment])


def newest_of(registry: pa.Table, segment: str) -> dict[str, Any] | None:
    """The registry row of the newest promoted model of `segment`; None where there is none."""
    rows = [row for row in registry.to_pylist() if row["segment"] == segment and row["promoted"] is not False]
    return max(rows, key=lambda row: row["served_from"], default=None)
