"""Train the model that is served on a day, and promote it where it beats the champion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.day import day_number
from shift_assets.models.data.labels import behavior_points
from shift_assets.models.data.sequences import Sequences, Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.network.threads import torch_threads
from shift_assets.models.registry.model_card import ModelCard
from shift_assets.models.registry.store import load
from shift_assets.models.training.examples import Points
from shift_assets.models.training.fit import VALIDATION_K, CurvePoint, FitResult, fit, validation_metrics
from shift_assets.models.training.head_evaluation import evaluate_heads
from shift_assets.models.training.multitask import TaskPlan
from shift_assets.models.training.parameters import ModelParameters, TaskParameters
from shift_assets.settings.root import InterestSettings, ModelSettings, TaskSettings

logger = logging.getLogger(__name__)

NDCG = f"validation_ndcg_at_{VALIDATION_K}"


@dataclass(frozen=True)
class TrainedModel:
    """Outcome of a training; `model` is None where there was nothing to train on and no earlier model."""

    model: InterestModel | None
    card: ModelCard
    curve: tuple[CurvePoint, ...] = field(default=())


def train(
    events_window: pa.Table,
    day: date,
    settings: ModelSettings,
    *,
    seed: int,
    tasks: TaskSettings | None = None,
    weights: Mapping[str, float] | None = None,
    warm_start: Path | None = None,
    base: Path | None = None,
    log_dir: Path | None = None,
    retrain_days: int | None = None,
) -> TrainedModel:
    """Train the model served on `day` on the `settings.window_days` days before it.

    The training continues the champion's weights, and starts from scratch on every `retrain_days`-th day or without a
    champion: from the `base` model if there is one, else from random weights. The card says whether the new model is
    promoted: where it beats the champion on the validation days, or equals it and knows more items, or there is no
    champion, or there are no validation users. Where there is nothing to train on the champion is carried over; that
    is an outcome in the card, not an error. The same input and seed give the same weights, bit by bit, on one
    machine's CPU.

    Args:
        events_window: clean_events in any order; events outside the window are ignored.
        day: First day on which the model is served.
        settings: Settings of the model.
        seed: Seed of the training.
        tasks: What is trained alongside the next item; None for the next item alone.
        weights: Score of an event by behaviour, for the category shares; the defaults of `interest` where None.
        warm_start: Folder of the champion.
        base: Folder of a model of all segments.
        log_dir: Folder for TensorBoard's logs.
        retrain_days: Interval of training from scratch, in days since 1970-01-01; None: never.

    Raises:
        ModelError: The champion's or the base model's folder is damaged.
    """
    settings = ModelParameters.of(settings)
    tasks = TaskParameters.of(tasks) if tasks is not None else None
    champion = load(warm_start) if warm_start is not None else None
    from_scratch = champion is None or (retrain_days is not None and day_number(day) % retrain_days == 0)
    start = (load(base) if base is not None else None) if from_scratch else champion
    window = _Window.of(events_window, day, settings)
    card: dict[str, Any] = {
        "day": day,
        "window_start": window.first_day,
        "window_end": window.last_day,
        "events": len(window.sequences.items),
        "users": len(window.sequences.users),
        "items": len(window.vocabulary.items),
        "seed": seed,
        "warm_start": start.version if start else None,
        "settings": settings.model_dump()
        | {"retrain_days": retrain_days, "tasks": tasks.model_dump() if tasks is not None else None},
    }
    learnable = window.sequences.until(window.validation_start)
    if not len(Points.of(learnable, settings).events):
        outcome = "Carried over: no user came back within the window" if champion else "None: no user came back"
        return TrainedModel(champion, ModelCard(outcome=outcome, steps=0, **card))
    scores = behavior_points(weights if weights is not None else InterestSettings().weights)
    plan = TaskPlan(tasks, scores, window.validation_start - 1) if tasks is not None and tasks.weights else None
    validation = Validation.of(window.sequences, window.validation_start)
    with torch_threads(settings.threads):
        fitted = fit(learnable, window.vocabulary, validation, settings, seed=seed, start=start, tasks=plan)
        model, metrics = _evaluated(fitted, validation, window, seed)
        promotion = promote(champion, fitted, validation) if champion is not None else None
    if log_dir is not None:
        _write_tensorboard(fitted.curve, log_dir)
    if promotion is not None:
        card |= {"judged_against": promotion.champion, "promoted": promotion.promoted}
        metrics[f"served_{NDCG}"] = promotion.champion_ndcg
    other = "Fine-tuned from the model of all segments" if from_scratch else "Continued from the champion"
    outcome = other if fitted.warm else "Trained from random weights"
    return TrainedModel(
        model, ModelCard(outcome=outcome, steps=fitted.best_step, metrics=metrics, **card), fitted.curve
    )


class Promotion(NamedTuple):
    """Decision about a challenger: the champion's version and NDCG on the challenger's validation days."""

    champion: str
    champion_ndcg: float
    promoted: bool


def promote(champion: InterestModel, challenger: FitResult, validation: Validation) -> Promotion | None:
    """Compare a challenger with the champion on the validation days; None without validation users.

    The challenger is promoted where its NDCG is higher, or equal and it knows items that the champion does not.

    Args:
        champion: The production model.
        challenger: The new training.
        validation: The validation, in codes of the challenger's vocabulary.
    """
    vocabulary = challenger.model.vocabulary
    champion_ndcg, _ = validation_metrics(champion, validation.recoded(vocabulary, champion.vocabulary))
    ndcg = challenger.best.ndcg
    if champion_ndcg is None or ndcg is None:
        return None
    knows_more = not set(vocabulary.items) <= set(champion.vocabulary.items)
    promoted = ndcg > champion_ndcg or (ndcg == champion_ndcg and knows_more)
    logger.info("challenger NDCG %.4f, champion %s NDCG %.4f", ndcg, champion.version, champion_ndcg)
    return Promotion(champion.version, champion_ndcg, promoted)


class _Window(NamedTuple):
    """The events before a day, packed; validation days from `validation_start` on, as a count from 1970-01-01."""

    first_day: date
    last_day: date
    vocabulary: Vocabulary
    sequences: Sequences
    validation_start: int

    @classmethod
    def of(cls, events: pa.Table, day: date, settings: ModelSettings) -> _Window:
        first, last = day - timedelta(days=settings.window_days), day - timedelta(days=1)
        inside = events.filter(pc.and_(pc.greater_equal(events["day"], first), pc.less_equal(events["day"], last)))
        vocabulary = Vocabulary.of(inside)
        # The start moves on by a day or waits, never back: the champion's weights saw none of today's validation days.
        validation_days = min(settings.validation_days, pc.count_distinct(inside["day"]).as_py() // 3)
        return cls(first, last, vocabulary, pack(inside, vocabulary), day_number(day) - validation_days)


def _evaluated(
    fitted: FitResult, validation: Validation, window: _Window, seed: int
) -> tuple[InterestModel, dict[str, float]]:
    """The fitted model with its calibrated heads, and the metrics of its card."""
    model, metrics = fitted.model, _card_metrics(fitted.best, validation)
    if fitted.tasks is None:
        return model, metrics
    last_day = day_number(window.last_day)
    quality = evaluate_heads(model, fitted.tasks, window.sequences, window.validation_start, last_day, seed=seed)
    return replace(model, trained_heads=quality.trained_heads), metrics | quality.metrics


def _card_metrics(best: CurvePoint, validation: Validation) -> dict[str, float]:
    named = {
        NDCG: best.ndcg,
        f"validation_recall_at_{VALIDATION_K}": best.recall,
        "training_loss": best.loss,
        "validation_users": float(len(np.unique(validation.owners))),
    }
    return {name: value for name, value in named.items() if value is not None}


def _write_tensorboard(curve: tuple[CurvePoint, ...], folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for point in curve:
            for name, value in (("loss", point.loss), ("ndcg", point.ndcg), ("recall", point.recall)):
                if value is not None:
                    writer.add_scalar(name, value, point.step)
