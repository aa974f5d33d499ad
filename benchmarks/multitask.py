"""Does learning several things at once cost any of them? Single-task against multi-task, on the log of an installation.

    python benchmarks/multitask.py HOME SEGMENT --days 2011-06-01 2011-09-01 --seeds 1 2

For every day and seed a model is trained as it would be served: for the next item alone, for each task alone, and for
all together, where all tasks train the encoder, or those of the settings, or none (heads only read it). All are
evaluated on the days after, which neither training nor calibration saw, once per user at the end of the day before.
Splices are of users held out from training.
Prints Markdown: per measure the mean over days and seeds, and the gain of multi-task over single-task in percent.
`all` as SEGMENT takes the segments together.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from report import recorded
from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.contracts.day import day_number
from shift_assets.models.data.labels import behavior_points, labels
from shift_assets.models.data.prediction_points import Timeline
from shift_assets.models.data.sequences import Sequences, Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.inference.head_inputs import logits_at
from shift_assets.models.inference.predictions import CHURN_WITHIN_WEEKS, task_probabilities
from shift_assets.models.inference.scoring import score
from shift_assets.models.metrics import auc, ndcg_at_k
from shift_assets.models.network.blocks import Shape
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import TASKS, Task, TrainedHeads
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.training.fit import fit
from shift_assets.models.training.head_evaluation import evaluate_heads
from shift_assets.models.training.head_losses import label_losses
from shift_assets.models.training.multitask import TaskPlan, TaskTraining, shift_examples
from shift_assets.models.training.parameters import ModelParameters, TaskParameters
from shift_assets.settings.root import InterestSettings
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.landed import load_events

SPLICE_SEEDS = 5
"""The few users held out are spliced so often."""
BINS = 10
POINTS = behavior_points(InterestSettings().weights)
SMALLER_IS_BETTER = ("cross-entropy", "calibration error")


class Log(NamedTuple):
    """The window before `day` as training sees it, and the events of the four weeks after it in the same codes."""

    vocabulary: Vocabulary
    window: Sequences
    whole: Sequences
    day: int
    validation_start: int

    @classmethod
    def of(cls, events: pa.Table, day: date, settings: ModelParameters) -> Log:
        last = day + timedelta(days=7 * CHURN_WITHIN_WEEKS - 1)
        days = events["day"]
        known = events.filter(pc.greater_equal(days, day - timedelta(days=settings.window_days)))
        known = known.filter(pc.less_equal(known["day"], last))
        window = known.filter(pc.less(known["day"], day))
        vocabulary = Vocabulary.of(window)
        held_back = min(settings.validation_days, pc.count_distinct(window["day"]).as_py() // 3)
        number = day_number(day)
        return cls(vocabulary, pack(window, vocabulary), pack(known, vocabulary), number, number - held_back)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("segment")
    parser.add_argument("--days", type=date.fromisoformat, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--horizon", type=int, default=7, help="days ahead; a log of a few days needs fewer")
    given = parser.parse_args()
    events = load_events(open_workspace(given.home.resolve()))
    if given.segment != "all":
        events = events.filter(pc.equal(events["segment"], given.segment))
    model, tasks = ModelParameters(device="cpu"), TaskParameters(horizon_days=given.horizon)
    kinds = ("single", "all train", "as set", "none trains")
    found: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in kinds}
    seconds: dict[str, float] = defaultdict(float)
    for day in given.days:
        log = Log.of(events, day, model)
        for seed in given.seeds:
            for kind in kinds:
                began = time.process_time()
                for name, value in measured(kind, log, model, tasks, seed).items():
                    found[kind][name].append(value)
                seconds[kind] += time.process_time() - began
    print(f"\n{given.segment}, days {', '.join(map(str, given.days))}, seeds {given.seeds}; CPU {dict(seconds)}\n")
    print("| measure | " + " | ".join(kinds) + " | gain of " + ", % | gain of ".join(kinds[1:]) + ", % |")
    print("|---" + "|---:" * (2 * len(kinds) - 1) + "|")
    for name in found["as set"]:
        if not all(found[kind][name] for kind in kinds):
            continue
        single, *others = (float(np.mean(found[kind][name])) for kind in kinds)
        sign = -1 if any(word in name for word in SMALLER_IS_BETTER) else 1
        gains = " | ".join(f"{sign * 100 * (other / single - 1):+.1f}" for other in others)
        print(f"| {name} | {single:.4f} | " + " | ".join(f"{other:.4f}" for other in others) + f" | {gains} |")


def measured(kind: str, log: Log, model: ModelParameters, tasks: TaskParameters, seed: int) -> dict[str, float]:
    """Every measure of one training, or of one training per measure's task where `kind` is single."""
    if kind == "single":
        found = items(trained(log, model, None, seed)[0], log, tasks)
        for task in TASKS:
            network, trained_heads = alone(log, model, tasks, task, seed=seed)
            found |= quality(network, trained_heads, log, tasks, task)
        return found
    stopped = {"all train": (), "as set": tasks.stop_gradient, "none trains": TASKS}[kind]
    network, predictor = trained(log, model, tasks.model_copy(update={"stop_gradient": stopped}), seed)
    found = items(network, log, tasks)
    for task in TASKS:
        if predictor is not None:
            found |= quality(network, predictor, log, tasks, task)
    return found


def trained(
    log: Log, model: ModelParameters, tasks: TaskParameters | None, seed: int
) -> tuple[InterestModel, TrainedHeads | None]:
    """The model as it would be served on the log's day, with `tasks` or without."""
    learnable = log.window.until(log.validation_start)
    plan = TaskPlan(tasks, POINTS, log.validation_start - 1) if tasks else None
    validation = Validation.of(log.window, log.validation_start)
    fitted = fit(learnable, log.vocabulary, validation, model, seed=seed, tasks=plan)
    if fitted.tasks is None:
        return fitted.model, None
    quality_before = evaluate_heads(
        fitted.model, fitted.tasks, log.window, log.validation_start, log.day - 1, seed=seed
    )
    return fitted.model, quality_before.trained_heads


def alone(
    log: Log, model: ModelParameters, tasks: TaskParameters, task: Task, *, seed: int
) -> tuple[InterestModel, TrainedHeads]:
    """Encoder and head trained by one task only, for as many steps as the next item has at most."""
    torch.manual_seed(seed)
    vocabulary = log.vocabulary
    network = CausalEncoder(
        Shape(
            items=len(vocabulary.items),
            categories=len(vocabulary.categories),
            dimensions=model.dimensions,
            layers=model.layers,
            heads=model.heads,
            dropout=model.dropout,
            maximum_length=model.maximum_length,
        )
    )
    plan = TaskPlan(tasks.model_copy(update={"weights": {task: 1.0}}), POINTS, log.validation_start - 1)
    learnable = log.window.until(log.validation_start)
    task_training = TaskTraining(learnable, vocabulary, plan, network=network, seed=seed)
    optimiser = torch.optim.AdamW(
        [
            {"params": list(network.parameters()), "lr": model.learning_rate},
            {"params": list(task_training.heads.parameters()), "lr": tasks.learning_rate},
        ],
        weight_decay=0.01,
    )
    steps = model.maximum_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, 1.1 - step / steps))
    for _ in range(steps):
        network.train()
        loss = task_training.loss(network)
        if not loss.requires_grad:
            break
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    task_training.finish(network)
    made = InterestModel(network.eval(), vocabulary)
    found = evaluate_heads(made, task_training, log.window, log.validation_start, log.day - 1, seed=seed)
    return made, found.trained_heads


def items(model: InterestModel, log: Log, tasks: TaskParameters) -> dict[str, float]:
    """NDCG@20 of the items of the days after."""
    after = Validation.of(log.whole.until(log.day + tasks.horizon_days), log.day)
    best, _ = score(model, after.histories, 20)
    width = len(model.vocabulary.items) + 1
    relevant = np.unique((after.owners * width + after.items)[after.items > 0])
    hits = np.isin(np.arange(len(best))[:, None] * width + best + 1, relevant)
    counts = np.bincount(relevant // width, minlength=len(best))
    return {"next item: NDCG@20": float(ndcg_at_k(hits, counts)[counts > 0].mean())}


def quality(
    model: InterestModel, trained_heads: TrainedHeads, log: Log, tasks: TaskParameters, task: Task
) -> dict[str, float]:
    """What one head is worth on the days after."""
    heads = trained_heads.heads
    if task == "shift":
        scores, shifted = [], []
        for seed in range(SPLICE_SEEDS):
            made = shift_examples(
                log.window, log.day - 1, tasks, seed, model.network.shape.maximum_length, held_out=True
            )
            scores.append(logits_at(model, heads, made.points).shift.double().numpy())
            shifted.append(made.shifted)
        return _named("shift: AUC", auc(np.concatenate(scores), np.concatenate(shifted)))
    timeline = Timeline(log.whole)
    prediction_points = timeline.last_prediction_points(log.day - 1)
    last_day = int(log.whole.days.max())
    found = labels(prediction_points, last_day, tasks.horizon_days, POINTS)
    logits = logits_at(model, heads, prediction_points)
    said = task_probabilities(trained_heads, logits)
    if task == "category":
        return _named("category: cross-entropy", float(label_losses(logits, found)["category"]))
    if task == "purchase":
        return _probabilities(task, said.purchase, found.purchase, found.purchase_known)
    weeks = found.at_risk[:, :CHURN_WITHIN_WEEKS] | (np.cumsum(found.returned, axis=1)[:, :CHURN_WITHIN_WEEKS] > 0)
    gone = np.asarray(~found.returned[:, :CHURN_WITHIN_WEEKS].any(axis=1))
    return _probabilities(task, said.churn, gone, np.asarray(weeks.all(axis=1)))


def _probabilities(task: Task, said: Float64Array | None, happened: BoolArray, counts: BoolArray) -> dict[str, float]:
    if said is None or not counts.any():
        return {}
    said, happened = said[counts], happened[counts]
    order = np.argsort(said, kind="stable")
    error = sum(abs(float((said[part] - happened[part]).sum())) for part in np.array_split(order, BINS)) / len(said)
    return _named(f"{task}: AUC", auc(said, happened)) | {f"{task}: calibration error": error}


def _named(name: str, value: float | None) -> dict[str, float]:
    return {} if value is None else {name: value}


if __name__ == "__main__":
    with recorded("17_multitask"):
        main()
