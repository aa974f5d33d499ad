"""The table `model_predictions`: what the heads predict of every recently active user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64

from shift_assets.arrays import Float64Array
from shift_assets.contracts.day import day_number
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.models.data.prediction_points import SILENT_DAYS, Timeline
from shift_assets.models.data.sequences import pack
from shift_assets.models.inference.head_inputs import logits_at
from shift_assets.models.network.heads import Task, TaskLogits, TrainedHeads
from shift_assets.models.network.interest_model import InterestModel

NAMED_CATEGORIES = 5
CHURN_WITHIN_WEEKS = 4
"""Churn is no visit in the following 28 days, as in the churn warnings."""


@dataclass(frozen=True)
class TaskProbabilities:
    """Calibrated probabilities; None for a task that the model could not be trained on."""

    shares: Float64[Float64Array, "point category"]
    purchase: Float64[Float64Array, " point"] | None
    churn: Float64[Float64Array, " point"] | None
    shift: Float64[Float64Array, " point"] | None


def task_probabilities(trained_heads: TrainedHeads, logits: TaskLogits) -> TaskProbabilities:
    """Turn logits of the heads into calibrated probabilities."""
    calibrations = trained_heads.calibrations

    def probability(task: Task, log_odds: Float64Array) -> Float64Array | None:
        return calibrations[task].probability(log_odds) if task in calibrations else None

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
    """Predict, at the end of `day`, all users of a segment who were active within SILENT_DAYS before it.

    Args:
        events_window: clean_events in any order; those after `day` or older than `window_days` are ignored.
        day: The day at whose end the predictions are made.
        segment: The segment's key, for the rows.
        model: The model; without trained heads there are no rows.
        window_days: Days of history that the model reads.

    Returns:
        Rows of `model_predictions`, sorted by user.
    """
    if model.trained_heads is None:
        return MODEL_PREDICTIONS.empty()
    days = events_window["day"]
    in_window = pc.and_(pc.less_equal(days, day), pc.greater(days, day - timedelta(days=window_days)))
    events = events_window.filter(in_window)
    recent = events.filter(pc.greater_equal(events["day"], day - timedelta(days=SILENT_DAYS)))
    events = events.filter(pc.is_in(events["user_id"], pc.unique(recent["user_id"])))
    timeline = Timeline(pack(events, model.vocabulary))
    points = timeline.last_prediction_points(day_number(day))
    found = task_probabilities(model.trained_heads, logits_at(model, model.trained_heads.heads, points))
    n_points = len(points)

    def column(values: Float64Array | None) -> pa.Array:
        return pa.nulls(n_points, pa.float64()) if values is None else pa.array(values)

    table = pa.table(
        {
            "day": pa.repeat(pa.scalar(day, pa.date32()), n_points),
            "segment": pa.repeat(segment, n_points),
            "user_id": pa.array([timeline.sequences.users[user] for user in points.owners], pa.string()),
            "horizon_days": pa.repeat(model.trained_heads.horizon_days, n_points),
            "purchase_propensity": column(found.purchase),
            "churn_probability": column(found.churn),
            "shift_score": column(found.shift),
            "categories": _top_categories(found.shares, model.vocabulary.categories),
            "model_version": pa.repeat(model.version, n_points),
        }
    )
    return MODEL_PREDICTIONS.conform(table)


def _top_categories(shares: Float64[Float64Array, "point category"], names: tuple[str, ...]) -> pa.Array:
    """The largest shares of every point, largest first, as lists of {category, share}."""
    best = np.argsort(-shares, axis=1, kind="stable")[:, :NAMED_CATEGORIES]
    count, n_named = best.shape
    values = pa.StructArray.from_arrays(
        [
            pa.array(names, pa.string()).take(pa.array(best.ravel())),
            pa.array(np.take_along_axis(shares, best, axis=1).ravel()),
        ],
        names=["category", "share"],
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * n_named, pa.int32()), values)
