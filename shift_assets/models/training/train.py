"""Train the model that is served on a day, and promote it where it beats the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.day import day_number
from shift_assets.models.data.labels import behavior_points
from shift_assets.models.data.sequences import Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.network.threads import torch_threads
from shift_assets.models.registry.model_card import ModelCard
from shift_assets.models.registry.store import load
from shift_assets.models.training.examples import Points
from shift_assets.models.training.fit import VALIDATION_K, CurvePoint, fit, validation_metrics
from shift_assets.models.training.head_evaluation import evaluate_heads
from shift_assets.models.training.multitask import TaskPlan
from shift_assets.settings.root import InterestSettings, ModelSettings, TaskSettings

NDCG = f"validation_ndcg_at_{VALIDATION_K}"


@dataclass(frozen=True)
class TrainedModel:
    """What a training came to. `model` is None where the window taught nothing and there was no model before."""

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
) -> TrainedModel:
    """The model served on `day`, trained on `settings.window_days` days of `events_window` before it.

    `events_window` holds clean_events in any order; later and older rows are ignored. `warm_start` is the folder
    of the model served so far, from which training goes on: rows of known items and categories are kept, new items
    start at the mean of their category. On every `retrain_days`-th day it starts anew. Where no model is served so
    far, and on those days, it starts from `base`, the folder of a model of all segments, or from random weights.
    The card says whether the new model is promoted: only where it beats the served one on the validation days, or
    equals it and knows more items, or none is served, or nobody can be judged.

    `tasks`: what else is learned, None for the next item alone; `weights` of behaviours are those of `interest` (its
    defaults where None), for shares of categories. Where nothing can be learned the earlier model is carried over,
    and without one there is none: both are outcomes in the card, never an error. The same input and seed give the
    same weights, bit by bit, on one machine's CPU.

    Raises ModelError where `warm_start` is damaged.
    """
    window_start, window_end = day - timedelta(days=settings.window_days), day - timedelta(days=1)
    in_window = pc.and_(
        pc.greater_equal(events_window["day"], window_start), pc.less_equal(events_window["day"], window_end)
    )
    events = events_window.filter(in_window)
    champion = load(warm_start) if warm_start is not None else None
    from_scratch = champion is None or day_number(day) % settings.retrain_days == 0
    start = (load(base) if base is not None else None) if from_scratch else champion
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    card: dict[str, Any] = {
        "day": day,
        "window_start": window_start,
        "window_end": window_end,
        "events": events.num_rows,
        "users": len(sequences.users),
        "items": len(vocabulary.items),
        "seed": seed,
        "warm_start": start.version if start else None,
        "settings": settings.model_dump() | {"tasks": tasks.model_dump() if tasks is not None else None},
    }
    # Its start moves on by a day or waits, never back: yesterday's weights saw none of today's validation days.
    validation_days = min(settings.validation_days, pc.count_distinct(events["day"]).as_py() // 3)
    validation_start = day_number(day) - validation_days
    learnable = sequences.until(validation_start)
    if not len(Points.of(learnable, settings).events):
        outcome = "Carried over: no user came back within the window" if champion else "None: no user came back"
        return TrainedModel(champion, ModelCard(outcome=outcome, steps=0, **card))
    validation = Validation.of(sequences, validation_start)
    points = behavior_points(weights if weights is not None else InterestSettings().weights)
    plan = TaskPlan(tasks, points, validation_start - 1) if tasks is not None and tasks.weights else None
    champion_ndcg = None
    with torch_threads(settings.threads):
        fitted = fit(learnable, vocabulary, validation, settings, seed=seed, start=start, tasks=plan)
        model, metrics = fitted.model, _card_metrics(fitted.best, validation)
        if fitted.tasks is not None:
            last_day = day_number(window_end)
            quality = evaluate_heads(model, fitted.tasks, sequences, validation_start, last_day, seed=seed)
            model, metrics = replace(model, trained_heads=quality.trained_heads), metrics | quality.metrics
        if champion is not None:
            champion_ndcg, _ = validation_metrics(champion, validation.recoded(vocabulary, champion.vocabulary))
    if log_dir is not None:
        _write_tensorboard(fitted.curve, log_dir)
    if champion is not None and champion_ndcg is not None and fitted.best.ndcg is not None:
        knows_more = not set(vocabulary.items) <= set(champion.vocabulary.items)
        better = fitted.best.ndcg > champion_ndcg or (fitted.best.ndcg == champion_ndcg and knows_more)
        card |= {"judged_against": champion.version, "promoted": better}
        metrics[f"served_{NDCG}"] = champion_ndcg
    from_other = "Fine-tuned from the model of all segments" if from_scratch else "Continued from the model before"
    outcome = from_other if fitted.warm else "Trained from random weights"
    return TrainedModel(
        model,
        ModelCard(outcome=outcome, steps=fitted.best_step, metrics=metrics, **card),
        fitted.curve,
    )


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
