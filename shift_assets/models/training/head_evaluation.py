"""Evaluate and calibrate the heads on days that they were not trained on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.models.data.labels import labels
from shift_assets.models.data.prediction_points import Timeline
from shift_assets.models.data.sequences import Sequences
from shift_assets.models.inference.head_inputs import PredictionPoints, logits_at
from shift_assets.models.inference.scoring import InterestModel
from shift_assets.models.metrics import auc
from shift_assets.models.network.calibration import Calibration
from shift_assets.models.network.heads import (
    Task,
    TrainedHeads,
)
from shift_assets.models.training.head_losses import label_losses
from shift_assets.models.training.multitask import TaskTraining, shift_examples

VALIDATION_USERS = 512


CALIBRATED_WEEKS = 4


class TaskQuality(NamedTuple):
    """Calibrated heads, and how good they are on days that they did not learn from."""

    trained_heads: TrainedHeads
    metrics: dict[str, float]


def evaluate_heads(
    model: InterestModel, tasks: TaskTraining, sequences: Sequences, start: int, last_day: int, *, seed: int
) -> TaskQuality:
    """The heads of `tasks` judged and calibrated on the days `start` to `last_day`, which they did not learn from.

    Users are looked at once, at the end of the day before; those held out from the splices judge the shift head.
    Metrics, as far as they could be measured: mean cross-entropy of the category shares, and what it is without
    looking at users; areas under the curve of a purchase, of no visit in the first week, and of a splice.
    """
    settings, heads, priors = tasks.settings, tasks.heads, tasks.priors
    timeline = Timeline(sequences)
    prediction_points = timeline.last_prediction_points(start - 1)
    prediction_points = prediction_points.take(np.arange(min(len(prediction_points), VALIDATION_USERS)))
    found = labels(timeline, prediction_points, last_day, settings.horizon_days, tasks.points)
    predicted = logits_at(model, heads, PredictionPoints(timeline, prediction_points))
    metrics: dict[str, float | None] = {}
    if len(found.prediction_points):
        metrics["category_cross_entropy"] = float(label_losses(predicted, found)["category"])
        without = -(np.log(priors.category)[found.categories - 1] * found.shares).sum() / len(
            np.unique(found.prediction_points)
        )
        metrics["category_cross_entropy_without_looking"] = float(without)
    known, first_week = found.purchase_known, found.at_risk[:, 0]
    churn = _numbers(predicted.churn)
    metrics["churn_auc"] = auc(-churn[first_week, 0], ~found.returned[first_week, 0])
    # A week of validation days says nothing of the weeks after it; looks four weeks before its end say it of all four.
    earlier = timeline.last_prediction_points(last_day - 7 * CALIBRATED_WEEKS)
    earlier = earlier.take(np.arange(min(len(earlier), VALIDATION_USERS)))
    earlier_labels = labels(timeline, earlier, last_day, settings.horizon_days, tasks.points)
    churn_earlier = _numbers(logits_at(model, heads, PredictionPoints(timeline, earlier)).churn)
    held_out = shift_examples(sequences, last_day, settings, seed, model.network.shape.maximum_length, held_out=True)
    cases: dict[Task, tuple[Float64Array, BoolArray]] = {
        "purchase": (_numbers(predicted.purchase)[known], found.purchase[known]),
        "churn": (
            np.concatenate([churn[found.at_risk], churn_earlier[earlier_labels.at_risk]]),
            np.concatenate([found.returned[found.at_risk], earlier_labels.returned[earlier_labels.at_risk]]),
        ),
        "shift": (_numbers(logits_at(model, heads, held_out.prediction_points).shift), held_out.shifted),
    }
    learned = {task: case for task, case in cases.items() if priors.entropies[task]}
    metrics |= {f"{task}_auc": auc(*case) for task, case in learned.items() if task != "churn"}
    calibrations = {task: Calibration.of(*case) for task, case in learned.items()}
    return TaskQuality(
        TrainedHeads(heads.to("cpu").eval(), calibrations, settings.horizon_days, tasks.churn_weeks),
        {name: value for name, value in metrics.items() if value is not None},
    )


def _numbers(logits: Tensor) -> Float64Array:
    return logits.numpy().astype(np.float64)
