"""What a model foretells of every user who came lately, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array
from shift_assets.contracts.day import day_number
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.models.data.prediction_points import SILENT_DAYS, Timeline
from shift_assets.models.data.sequences import pack
from shift_assets.models.inference.head_inputs import PredictionPoints, logits_at
from shift_assets.models.inference.scoring import InterestModel
from shift_assets.models.network.heads import Task, TaskLogits, TrainedHeads

NAMED_CATEGORIES = 5
CHURN_WITHIN_WEEKS = 4
"""Churn is no visit in the following 28 days, as in the churn warnings."""


@dataclass(frozen=True)
class TaskProbabilities:
    """Calibrated probabilities; None for a task that the model could not learn.

    `shares[look, category]`, the others [look].
    """

    shares: Float64Array
    purchase: Float64Array | None
    churn: Float64Array | None
    shift: Float64Array | None


def task_probabilities(trained_heads: TrainedHeads, logits: TaskLogits) -> TaskProbabilities:
    """Logits of the heads as probabilities."""
    lines = trained_heads.calibrations

    def probability(task: Task, log_odds: Float64Array) -> Float64Array | None:
        return lines[task].probability(log_odds) if task in lines else None

    category, purchase, churn, shift = (part.double().numpy() for part in logits)
    weights = np.exp(category - category.max(axis=1, keepdims=True)) if category.size else category
    returns = probability("churn", churn[:, :CHURN_WITHIN_WEEKS])
    return TaskProbabilities(
        weights / weights.sum(axis=1, keepdims=True),
        probability("purchase", purchase),
        None if returns is None or trained_heads.churn_weeks < CHURN_WITHIN_WEEKS else (1 - returns).prod(axis=1),
        probability("shift", shift),
    )


def predictions(events_window: pa.Table, day: date, segment: str, model: InterestModel, window_days: int) -> pa.Table:
    """What `model` foretells at the end of `day` of the segment's users seen within SILENT_DAYS before.

    `events_window` holds clean_events in any order; those after `day`, and those older than `window_days`, are
    ignored. Rows keep the contract of `model_predictions`, in order of user; none where the model foretells only the
    next item.
    """
    if model.trained_heads is None:
        return MODEL_PREDICTIONS.empty()
    days = events_window["day"]
    in_window = pc.and_(pc.less_equal(days, day), pc.greater(days, day - timedelta(days=window_days)))
    events = events_window.filter(in_window)
    lately = events.filter(pc.greater_equal(events["day"], day - timedelta(days=SILENT_DAYS)))
    events = events.filter(pc.is_in(events["user_id"], pc.unique(lately["user_id"])))
    timeline = Timeline(pack(events, model.vocabulary))
    prediction_points = timeline.last_prediction_points(day_number(day))
    found = task_probabilities(
        model.trained_heads, logits_at(model, model.trained_heads.heads, PredictionPoints(timeline, prediction_points))
    )
    n_points = len(prediction_points)

    def column(values: Float64Array | None) -> pa.Array:
        return pa.nulls(n_points, pa.float64()) if values is None else pa.array(values)

    table = pa.table(
        {
            "day": pa.repeat(pa.scalar(day, pa.date32()), n_points),
            "segment": pa.repeat(segment, n_points),
            "user_id": pa.array(
                [timeline.sequences.users[user] for user in timeline.owners[prediction_points.events]], pa.string()
            ),
            "horizon_days": pa.repeat(model.trained_heads.horizon_days, n_points),
            "purchase_propensity": column(found.purchase),
            "churn_probability": column(found.churn),
            "shift_score": column(found.shift),
            "categories": _top_categories(found.shares, model.vocabulary.categories),
            "model_version": pa.repeat(model.version, n_points),
        }
    )
    return MODEL_PREDICTIONS.conform(table)


def _top_categories(shares: Float64Array, names: tuple[str, ...]) -> pa.Array:
    """The largest shares of every look, largest first, as lists of {category, share}."""
    best = np.argsort(-shares, axis=1, kind="stable")[:, :NAMED_CATEGORIES]
    count, places = best.shape
    values = pa.StructArray.from_arrays(
        [
            pa.array(names, pa.string()).take(pa.array(best.ravel())),
            pa.array(np.take_along_axis(shares, best, axis=1).ravel()),
        ],
        names=["category", "share"],
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * places, pa.int32()), values)
