"""The interest model of a day and segment, and its predictions."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.models import MODEL_PREDICTIONS, MODEL_REGISTRY
from shift_assets.contracts.partition import Partition
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.failures import final_unless_transient
from shift_assets.defs.kinds import kinds_of
from shift_assets.defs.publishing import version
from shift_assets.defs.table_asset import OWNER, TRANSIENT_RETRY, TableAsset, build_asset
from shift_assets.workspace.interest_models import champion_row
from shift_assets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from shift_assets.models.training.train import TrainedModel

MODEL = "interest_model"
BASE_MODEL = "base_model"
CHUNK_DAYS = 7
"""A week of trained models is registered together: what a killed run loses is a few minutes."""
ONE_DAY = timedelta(days=1)


def model_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    settings = workspace.settings
    asset = TableAsset(
        table=MODEL_REGISTRY,
        name=MODEL,
        group="models",
        deps=[
            dg.AssetDep(CLEAN, partition_mapping=keys.window_before(settings.model.window_days)),
            dg.AssetDep(BASE_MODEL, partition_mapping=keys.same_day()),
        ],
        compute=_trained,
        sections=["model", "tasks", "interest", "schedule.retrain_days", "seed"],
        metrics=_validation_metrics,
        single_run=False,
        pool="gpu",
        chunk_days=CHUNK_DAYS,
    )
    prediction_asset = TableAsset(
        table=MODEL_PREDICTIONS,
        group="models",
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
        kinds=kinds_of(_pooled),
        owners=[OWNER],
        code_version=version(_pooled, settings, ["model", "seed"]),
        retry_policy=TRANSIENT_RETRY,
        pool="gpu",
        description=(
            "Next-item model of all segments together, trained on the window before the day. A segment's own model "
            "starts from the newest one where it has none yet and on the days of full retraining, so that a segment of "
            "few users profits from the items that all users buy.\n\n**Grain**: one model.\n\n"
            "**Read by**: `interest_model`."
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

    settings, segments = workspace.settings, workspace.source.segment_keys
    events = workspace.reader.read_window(CLEAN_EVENTS, [day - ONE_DAY], segments, settings.model.window_days)
    return train(events, day, settings.model, seed=settings.seed)


def _predicted(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.models.inference.predictions import predictions
    from shift_assets.models.network.threads import torch_threads

    settings, rows = workspace.settings, [MODEL_PREDICTIONS.empty()]
    window_days = settings.model.window_days
    events = workspace.reader.read_windows(CLEAN_EVENTS, partitions, window_days)
    for day, segment in partitions:
        model = workspace.interest_models.champion(segment, day)
        if model is not None:
            with torch_threads(settings.model.threads):
                rows.append(predictions(events[segment], day, segment, model, window_days))
    return pa.concat_tables(rows)


def _trained(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    """Train the partitions in order of day; each starts from the champion of the day before."""
    from shift_assets.models.registry.store import newest_pooled_model, save
    from shift_assets.models.training.train import train

    settings, rows = workspace.settings, [MODEL_REGISTRY.empty()]
    events = workspace.reader.read_windows(CLEAN_EVENTS, partitions, settings.model.window_days, ending_days_before=1)
    for day, segment in partitions:
        earlier = pa.concat_tables([*rows, workspace.interest_models.registered(segment, day - ONE_DAY)])
        champion = champion_row(earlier, segment)
        trained = train(
            events[segment],
            day,
            settings.model,
            seed=settings.seed,
            tasks=settings.tasks,
            weights=settings.interest.weights,
            warm_start=settings.models / champion["path"] if champion else None,
            base=newest_pooled_model(settings.models, day),
            retrain_days=settings.schedule.retrain_days,
            log_dir=settings.home / "tensorboard" / segment / day.isoformat(),
        )
        if trained.model is not None:
            rows.append(save(trained.model, trained.card, settings.models, segment))
    return pa.concat_tables(rows)


def _validation_metrics(registry: pa.Table) -> dict[str, float]:
    return {metric["name"]: metric["value"] for row in registry.to_pylist() for metric in row["metrics"]}
