"""The daily churn predictions, and the weekly report of what came of them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.churn.bg_nbd import HORIZON_DAYS
from shift_assets.churn.calibration import refit_day
from shift_assets.churn.model import HEAD_WINDOW_DAYS
from shift_assets.churn.predictions import STATE_COLUMNS
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.contracts.outcomes import CHURN_CALIBRATION
from shift_assets.contracts.partition import Partition, days_of
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.interest import STATE
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from shift_assets.churn.model import ChurnModel, HeadPredictions

CHURN = CHURN_PREDICTIONS.name
WEEK = 7
CHUNK_DAYS = 14
"""State snapshots hold every user: two weeks of them at a time."""


def churn_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    tables = [
        TableAsset(
            table=CHURN_PREDICTIONS,
            group="shift",
            deps=[
                # The day, and the day of the fit: of all segments where the segment's own log is too short for one.
                dg.AssetDep(STATE, partition_mapping=keys.window_of_all_segments(WEEK + 1)),
                dg.AssetDep(
                    MODEL_PREDICTIONS.name,
                    partition_mapping=keys.window_of_all_segments(WEEK + HEAD_WINDOW_DAYS),
                ),
                dg.AssetDep(CHURN, partition_mapping=keys.window_before(1)),
            ],
            compute=_predictions,
            sections=["churn", "schedule.refit_weekday"],
            metrics=_threshold_and_warnings,
            chunk_days=CHUNK_DAYS,
        ),
        TableAsset(
            table=CHURN_CALIBRATION,
            group="outcomes",
            deps=[
                dg.AssetDep(STATE, partition_mapping=keys.window_of_all_segments(HORIZON_DAYS + WEEK + 1)),
                dg.AssetDep(CHURN, partition_mapping=keys.window(HORIZON_DAYS + WEEK)),
            ],
            compute=_calibration,
            sections=["churn", "schedule.refit_weekday"],
            metrics=lambda rows: {
                name: float(row[name])
                for row in rows.to_pylist()
                for name in ("auc", "brier", "brier_skill", "calibration_error", "base_rate", "warned_precision")
                if row[name] is not None
            },
        ),
    ]
    partitions = keys.day_segment_partitions(workspace.settings, workspace.source)
    return [build_asset(asset, partitions, workspace.settings) for asset in tables]


def _predictions(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    """The partitions in order of day; each goes on from the warnings of the day before, where that was made."""
    from shift_assets.churn.model import HeadPredictions
    from shift_assets.churn.predictions import churn_predictions

    settings, days = workspace.settings, days_of(partitions)
    workspace.lake.require(INTEREST_STATE, partitions)
    since = days[0] - timedelta(days=WEEK + HEAD_WINDOW_DAYS - 1)
    columns = ["day", "user_id", "churn_probability"]
    heads = HeadPredictions(
        workspace.reader.read(MODEL_PREDICTIONS, since, days[-1], workspace.source.segment_keys, columns)
    )
    made: dict[Partition, pa.Table] = {}
    models: dict[Partition, ChurnModel | None] = {}
    for day, segment in partitions:
        before = Partition(day - timedelta(days=1), segment)
        yesterday = made[before] if before in made else workspace.reader.read_day(CHURN_PREDICTIONS, *before)
        fit = Partition(refit_day(day, settings.schedule.refit_weekday), segment)
        if fit not in models:
            models[fit] = _model(workspace, fit, heads)
        state = workspace.reader.read(INTEREST_STATE, day, day, [segment], STATE_COLUMNS)
        made[Partition(day, segment)] = churn_predictions(
            state, yesterday, models[fit], heads, settings.churn, day=day, segment=segment
        )
    return pa.concat_tables(made.values())


def _model(workspace: Workspace, fit: Partition, heads: HeadPredictions) -> ChurnModel | None:
    """Fitted on the state of the refit day; raises MissingPartition where the state begins earlier and has none."""
    from shift_assets.churn.model import segment_model

    if fit.day < keys.first_day(workspace.settings):
        return None
    workspace.lake.require(INTEREST_STATE, [fit])

    def state_of(segments: list[str]) -> pa.Table:
        return workspace.reader.read(INTEREST_STATE, fit.day, fit.day, segments, STATE_COLUMNS)

    everyone = partial(state_of, list(workspace.source.segment_keys))
    return segment_model(state_of([fit.segment]), everyone, fit.day, heads, workspace.settings.churn)


def _threshold_and_warnings(predictions: pa.Table) -> dict[str, float]:
    """The threshold where one reaches the stated precision, and the day's warnings."""
    thresholds = pc.unique(predictions["threshold"]).drop_null().to_pylist()
    counts = {status: pc.sum(pc.equal(predictions["warning"], status)).as_py() for status in ("opened", "closed")}
    found = {f"warnings_{status}": float(number or 0) for status, number in counts.items()}
    found["users"] = float(len(predictions))
    if thresholds:
        found["threshold"] = float(thresholds[0])
    return found


def _calibration(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    """Once a week, on the refit weekday; a day without predictions four weeks before has no rows."""
    from shift_assets.churn.calibration import churn_calibration

    found, settings = [CHURN_CALIBRATION.empty()], workspace.settings
    for day, segment in partitions:
        if day.weekday() == settings.schedule.refit_weekday:
            then = day - timedelta(days=HORIZON_DAYS)
            now = workspace.reader.read(INTEREST_STATE, day, day, [segment], STATE_COLUMNS)
            recent = pa.concat_tables(
                [
                    workspace.reader.read(CHURN_PREDICTIONS, then - timedelta(days=WEEK - 1), then, [segment]),
                    workspace.reader.read_day(CHURN_PREDICTIONS, day, segment),
                ]
            )
            predicted = recent.filter(pc.equal(recent["day"], then))
            if not predicted.num_rows:
                predicted = _predicted_in_hindsight(workspace, Partition(then, segment))
            found.append(churn_calibration(predicted, now, recent, settings.churn, day=day, segment=segment))
    return pa.concat_tables(found)


def _predicted_in_hindsight(workspace: Workspace, partition: Partition) -> pa.Table:
    """What a day whose predictions were never made would have predicted, from the states that are kept."""
    from shift_assets.churn.model import HeadPredictions
    from shift_assets.churn.predictions import churn_predictions

    day, segment = partition
    settings, kept = workspace.settings, workspace.lake.published(INTEREST_STATE)
    fit = Partition(refit_day(day, settings.schedule.refit_weekday), segment)
    if partition not in kept or fit not in kept:
        return CHURN_PREDICTIONS.empty()
    heads = HeadPredictions(MODEL_PREDICTIONS.empty())
    state = workspace.reader.read(INTEREST_STATE, day, day, [segment], STATE_COLUMNS)
    model = _model(workspace, fit, heads)
    return churn_predictions(state, CHURN_PREDICTIONS.empty(), model, heads, settings.churn, day=day, segment=segment)
