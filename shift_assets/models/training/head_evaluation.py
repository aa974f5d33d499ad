"""Evaluate and calibrate the heads on days that they were not trained on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.models.data.labels import Labels, labels
from shift_assets.models.data.prediction_points import PredictionPoints, Timeline
from shift_assets.models.data.sequences import Sequences
from shift_assets.models.data.validation import VALIDATION_USERS
from shift_assets.models.inference.head_inputs import logits_at
from shift_assets.models.metrics import auc
from shift_assets.models.network.calibration import Calibration
from shift_assets.models.network.heads import Priors, Task, TaskLogits, TrainedHeads
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.training.head_losses import label_losses
from shift_assets.models.training.multitask import TaskTraining, shift_examples

CALIBRATED_WEEKS = 4


class TaskQuality(NamedTuple):
    """Calibrated heads, and their metrics on days that they were not trained on."""

    trained_heads: TrainedHeads
    metrics: dict[str, float]


class HeldOutCases(NamedTuple):
    """Logits and outcomes of the validation days, by task with any label variation in training.

    `predicted` and `labels` are those of the users' last prediction points before the validation days.
    """

    predicted: TaskLogits
    labels: Labels
    by_task: dict[Task, tuple[Float64Array, BoolArray]]


def evaluate_heads(
    model: InterestModel, tasks: TaskTraining, sequences: Sequences, start: int, last_day: int, *, seed: int
) -> TaskQuality:
    """Measure and calibrate the heads of `tasks` on the days `start` to `last_day`.

    Every user has one prediction point, at the end of the day before `start`; the shift head is evaluated on spliced
    histories of users held out from its training.

    Args:
        model: The encoder that the heads were trained with.
        tasks: The finished training of the heads.
        sequences: All events up to and including `last_day`.
        start: First validation day, as a count from 1970-01-01.
        last_day: Last validation day.
        seed: Seed of the held-out splices.

    Returns:
        The calibrated heads, and as far as they could be measured: the mean cross-entropy of the category shares and
        that of the prior (`category_cross_entropy_without_looking`), and the AUC of a purchase, of no visit in the
        first week, and of a splice.
    """
    held_out = _held_out_cases(model, tasks, sequences, start, last_day, seed=seed)
    calibrations = {task: Calibration.of(*case) for task, case in held_out.by_task.items()}
    trained = TrainedHeads(tasks.heads.to("cpu").eval(), calibrations, tasks.settings.horizon_days, tasks.churn_weeks)
    return TaskQuality(trained, _metrics(held_out, tasks.priors))


def _held_out_cases(
    model: InterestModel, tasks: TaskTraining, sequences: Sequences, start: int, last_day: int, *, seed: int
) -> HeldOutCases:
    """Logits and outcomes of the validation days."""
    timeline = Timeline(sequences)

    def measured(day: int) -> tuple[TaskLogits, Labels]:
        points = _first_users(timeline.last_prediction_points(day))
        found = labels(points, last_day, tasks.settings.horizon_days, tasks.event_scores)
        return logits_at(model, tasks.heads, points), found

    predicted, found = measured(start - 1)
    # One week of validation days holds no later week; points four weeks before its end hold all four.
    earlier, earlier_found = measured(last_day - 7 * CALIBRATED_WEEKS)
    shifts = shift_examples(
        sequences, last_day, tasks.settings, seed, model.network.shape.maximum_length, held_out=True
    )
    known = found.purchase_known
    cases: dict[Task, tuple[Float64Array, BoolArray]] = {
        "purchase": (_numbers(predicted.purchase)[known], found.purchase[known]),
        "churn": (
            np.concatenate([_numbers(predicted.churn)[found.at_risk], _numbers(earlier.churn)[earlier_found.at_risk]]),
            np.concatenate([found.returned[found.at_risk], earlier_found.returned[earlier_found.at_risk]]),
        ),
        "shift": (_numbers(logits_at(model, tasks.heads, shifts.points).shift), shifts.shifted),
    }
    trained = {task: case for task, case in cases.items() if tasks.priors.entropies[task]}
    return HeldOutCases(predicted, found, trained)


def _metrics(held_out: HeldOutCases, priors: Priors) -> dict[str, float]:
    predicted, found = held_out.predicted, held_out.labels
    metrics: dict[str, float | None] = {}
    if len(found.prediction_points):
        metrics["category_cross_entropy"] = float(label_losses(predicted, found)["category"])
        of_prior = -(np.log(priors.category)[found.categories - 1] * found.shares).sum()
        metrics["category_cross_entropy_without_looking"] = float(of_prior / len(np.unique(found.prediction_points)))
    first_week = found.at_risk[:, 0]
    metrics["churn_auc"] = auc(-_numbers(predicted.churn)[first_week, 0], ~found.returned[first_week, 0])
    metrics |= {f"{task}_auc": auc(*case) for task, case in held_out.by_task.items() if task != "churn"}
    return {name: value for name, value in metrics.items() if value is not None}


def _first_users(points: PredictionPoints) -> PredictionPoints:
    """The points of the first VALIDATION_USERS users by pseudonym: a digest, so a random sample."""
    return points.take(np.arange(min(len(points), VALIDATION_USERS)))


def _numbers(logits: Tensor) -> Float64Array:
    return logits.numpy().astype(np.float64)
