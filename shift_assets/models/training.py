"""Training of the next-item model on the window before a day.

A model of day D learns from the days before D less the last `validation_days`, on which it is judged as it is
used: from the histories before them, which items come. So the weights served on D never saw the days that chose
them, nor did yesterday's weights, from which they start.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn

from shift_assets.days import day_number
from shift_assets.models.checkpoints import Progress, load_checkpoint, save_checkpoint
from shift_assets.models.distributed import Ranks
from shift_assets.models.encoder import CausalEncoder, ItemAttributes, Shape
from shift_assets.models.examples import Example, Examples, Points, Validation, ahead
from shift_assets.models.labels import behavior_points
from shift_assets.models.losses import (
    NegativeSampling,
    Raised,
    Targets,
    chosen_loss,
    cross_entropy,
    generalised_binary_cross_entropy,
    plain_cross_entropy,
)
from shift_assets.models.ranking import ndcg_at_k, recall_at_k
from shift_assets.models.scoring import InterestModel, score
from shift_assets.models.sequences import Sequences, Vocabulary, pack
from shift_assets.models.starts import grow, log_popularity, place_items, stand_by_attributes
from shift_assets.models.store import ModelCard, load
from shift_assets.models.tasks import TaskPlan, TaskTraining, judged
from shift_assets.settings import InterestSettings, ModelSettings, TaskSettings

VALIDATION_K = 20
NDCG = f"validation_ndcg_at_{VALIDATION_K}"


@dataclass(frozen=True)
class CurvePoint:
    """One look at the model in training; the loss is the mean since the look before, None at the first."""

    step: int
    loss: float | None
    ndcg: float | None
    recall: float | None


@dataclass(frozen=True)
class Fitted:
    """The weights that were best on the validation, on the CPU, how they came about, and what it took."""

    model: InterestModel
    curve: tuple[CurvePoint, ...]
    best_step: int
    warm: bool
    cpu_seconds: float
    tasks: TaskTraining | None = None

    @property
    def best(self) -> CurvePoint:
        """The look at which the weights were best."""
        return next(point for point in self.curve if point.step == self.best_step)


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
    before = load(warm_start) if warm_start is not None else None
    anew = before is None or day_number(day) % settings.retrain_days == 0
    start = (load(base) if base is not None else None) if anew else before
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
        outcome = "Carried over: no user came back within the window" if before else "None: no user came back"
        return TrainedModel(before, ModelCard(outcome=outcome, steps=0, **card))
    validation = Validation.of(sequences, validation_start)
    points = behavior_points(weights if weights is not None else InterestSettings().weights)
    plan = TaskPlan(tasks, points, validation_start - 1) if tasks is not None and tasks.weights else None
    fitted = fit(learnable, vocabulary, validation, settings, seed=seed, start=start, tasks=plan)
    model, metrics = fitted.model, _metrics(fitted.best, validation)
    if fitted.tasks is not None:
        quality = judged(model, fitted.tasks, sequences, validation_start, day_number(window_end), seed=seed)
        model, metrics = replace(model, foretelling=quality.foretelling), metrics | quality.metrics
    if log_dir is not None:
        _log(fitted.curve, log_dir)
    if before is not None:
        served, _ = _judge(before, validation.recoded(vocabulary, before.vocabulary))
        if served is not None and fitted.best.ndcg is not None:
            knows_more = not set(vocabulary.items) <= set(before.vocabulary.items)
            better = fitted.best.ndcg > served or (fitted.best.ndcg == served and knows_more)
            card |= {"judged_against": before.version, "promoted": better}
            metrics[f"served_{NDCG}"] = served
    from_other = "Fine-tuned from the model of all segments" if anew else "Continued from the model before"
    outcome = from_other if fitted.warm else "Trained from random weights"
    return TrainedModel(
        model,
        ModelCard(outcome=outcome, steps=fitted.best_step, metrics=metrics, **card),
        fitted.curve,
    )


def fit(
    learnable: Sequences,
    vocabulary: Vocabulary,
    validation: Validation,
    settings: ModelSettings,
    *,
    seed: int,
    start: InterestModel | None = None,
    attributes: ItemAttributes | None = None,
    tasks: TaskPlan | None = None,
    checkpoint: Path | None = None,
    tell: Callable[[CurvePoint], None] | None = None,
) -> Fitted:
    """A model trained on all of `learnable`, stopped early by `validation`, whose histories it may share.

    `learnable` and `validation` are in the codes of `vocabulary`. `start`: a model to continue where its shape is
    this one's; rows of known items and categories are kept, new items start at the mean of their category.
    `attributes`: what is known of the items, so that one that nobody took has a vector too. `tasks`: what else is
    learned beside the next item, which alone decides when to stop. `checkpoint`: a file where the state is kept at
    every look, from which a training of the same arguments goes on after it was killed; deleted at the end. `tell` is
    called with every look at the validation. The process's random state, threads and determinism are left as they
    were; the same arguments give the same weights, bit by bit, on one machine's CPU.

    Raises ValueError where `learnable` holds no point to learn from, or where a checkpoint is asked for with `tasks`,
    whose state it would not hold; CheckpointError where the checkpoint is of another training.
    """
    began = process_time()
    points = Points.of(learnable, settings)
    if not len(points.events):
        raise ValueError("nothing to learn from: no user has an event that another one follows")
    if checkpoint is not None and tasks is not None:
        raise ValueError("a training of tasks keeps no checkpoint: leave out one of the two")
    with _reproducible(seed, settings.threads):
        shape = _shape(vocabulary, settings, attributes, repeats=settings.repeats and not validation.masked)
        network = CausalEncoder(shape)
        if attributes is not None:
            network.describe(attributes)
        with torch.no_grad():
            network.item_bias.copy_(log_popularity(learnable, len(vocabulary.items)))
        warm = start is not None and grow(network, vocabulary, start)
        if settings.item_start == "transitions" and not warm:
            place_items(network, learnable, seed)
        if attributes is not None:
            stand_by_attributes(network, learnable)
        device = _device(settings.device)
        ranks = Ranks.joined(device) if settings.distributed else Ranks()
        model = InterestModel(network.to(device), vocabulary)
        teaching = None
        if tasks is not None:
            earlier = start if warm else None
            teaching = TaskTraining(learnable, vocabulary, tasks, network=network, seed=seed, start=earlier)
        loop = _Loop(model, points, validation, teaching, tell)
        kept = (
            None
            if checkpoint is None
            else (checkpoint, _fingerprint(learnable, validation, start, attributes, f"{settings} {seed}"))
        )
        loop.run(settings, seed, warm, kept, ranks)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        network.to("cpu").eval()
        if attributes is not None:
            stand_by_attributes(network, learnable)
    taken = process_time() - began
    return Fitted(InterestModel(network, vocabulary), loop.curve, loop.progress.best_step, warm, taken, teaching)


class _Loop:
    """Steps, looks at the validation, best weights restored."""

    def __init__(
        self,
        model: InterestModel,
        points: Points,
        validation: Validation,
        tasks: TaskTraining | None,
        tell: Callable[[CurvePoint], None] | None,
    ) -> None:
        self.model, self.points, self.validation, self.tasks, self.tell = model, points, validation, tasks, tell
        self._learning = nn.ModuleList([model.network] + ([tasks.heads] if tasks else []))
        self.progress = Progress()
        self._best: dict[str, torch.Tensor] = {}

    def run(self, settings: ModelSettings, seed: int, warm: bool, kept: tuple[Path, str] | None, ranks: Ranks) -> None:
        """`kept`: the checkpoint's file, and what says that it is of this training."""
        network = self.model.network
        repeats = network.shape.repeats
        examples = Examples(self.points, network.shape.items, settings, repeats=repeats, newest_first=warm, ranks=ranks)
        steps, look_every = _length(settings, examples, warm)
        rate = settings.warm_learning_rate if warm else settings.learning_rate
        groups: list[dict[str, Any]] = [{"params": list(network.parameters()), "lr": rate}]
        if self.tasks is not None:
            heads_rate = self.tasks.settings.learning_rate * rate / settings.learning_rate
            groups.append({"params": list(self.tasks.heads.parameters()), "lr": heads_rate})
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        rates = [group["lr"] for group in optimiser.param_groups]
        half = _half(settings, network.device)
        losses: list[torch.Tensor] = []
        if kept is not None and kept[0].exists():
            self.progress, self._best = load_checkpoint(*kept, self._learning, optimiser)
        elif warm:
            self._look(0, losses)
        done = self.progress.step
        last = done if self.progress.looks_without_gain > settings.patience else steps
        steps_left = islice(examples.steps(np.random.default_rng(seed)), done, last)
        if ranks.count > 1:
            torch.manual_seed(seed + ranks.rank)
        for step, example in enumerate(ahead(steps_left, network.device), start=done + 1):
            self._learning.train()
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 1.1 - (step - 1) / steps)
            loss = step_loss(network, example, settings, half=half)
            optimiser.zero_grad(set_to_none=True)
            (loss + self.tasks.loss(network) if self.tasks and self.tasks.teach_encoder else loss).backward()
            for group in groups:
                ranks.average(group["params"], len(example.points))
                torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
            optimiser.step()
            losses.append(loss.detach())
            if step % look_every == 0 or step == steps:
                self._look(step, losses)
                losses.clear()
                if kept is not None and ranks.rank == 0:
                    state = {"best": self._best, "optimiser": optimiser.state_dict()["state"]}
                    save_checkpoint(*kept, self.progress, self._learning, state)
            if self.progress.looks_without_gain > settings.patience:
                break
        self._learning.load_state_dict(self._best)
        if self.tasks is not None:
            self.tasks.finish(network)

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The looks so far."""
        return tuple(CurvePoint(*look) for look in self.progress.curve)

    def _look(self, step: int, losses: list[torch.Tensor]) -> None:
        """Judge the weights on the validation, and keep them if they are the best so far."""
        ndcg, recall = _judge(self.model, self.validation)
        loss = float(torch.stack(losses).mean()) if losses else None
        progress = self.progress
        progress.step = step
        progress.curve.append((step, loss, ndcg, recall))
        if self.tell is not None:
            self.tell(self.curve[-1])
        # Without validation users there is nothing to stop by: the last weights stand.
        if ndcg is not None and ndcg <= progress.best_ndcg:
            progress.looks_without_gain += step > 0
            return
        progress.best_ndcg, progress.best_step = ndcg if ndcg is not None else -1.0, step
        progress.looks_without_gain = 0
        self._best = copy.deepcopy(self._learning.state_dict())


def step_loss(network: CausalEncoder, example: Example, settings: ModelSettings, *, half: bool) -> torch.Tensor:
    """Mean loss of what the example's points foretell over its candidates, by the settings' loss."""
    device = network.device
    loss = chosen_loss(settings, network.shape.items)
    with torch.autocast(device.type, torch.bfloat16, enabled=half and device.type == "cuda"):
        states = network(example.batch.to(device))
    vectors = states.float().index_select(0, example.points.to(device))
    if example.candidates is None:
        table, bias = network.item_rows()[1:], network.item_bias[1:]
    else:
        candidates = example.candidates.to(device)
        table, bias = network.item_rows(candidates), network.item_bias[candidates]
    if example.correction is not None and loss == "sampled":
        bias = bias + example.correction.to(device)
    raised = None
    if example.taken is not None:
        points, taken, features = (part.to(device) for part in example.taken)
        raised = Raised(points, taken, (network.repeat_gates(vectors)[points] * features).sum(-1))
    targets = Targets(*(part.to(device) for part in example.targets))
    if loss == "gbce":
        sampling = NegativeSampling(example.drawn, network.shape.items, settings.gbce_calibration)
        return generalised_binary_cross_entropy(vectors, table, bias, targets, raised, sampling=sampling)
    if loss == "full":
        return plain_cross_entropy(vectors, table, bias, targets, raised)
    return cross_entropy(vectors, table, bias, targets, raised, half=half)


def _length(settings: ModelSettings, examples: Examples, warm: bool) -> tuple[int, int]:
    """Steps of the training at most, and steps between looks at the validation."""
    if warm:
        steps, look_every = settings.warm_steps, settings.look_every
    elif settings.objective == "next_event":
        steps, look_every = settings.maximum_epochs * examples.steps_per_epoch, examples.steps_per_epoch
    else:
        steps, look_every = settings.maximum_steps, settings.look_every
    return steps, max(1, min(look_every, steps))


def _metrics(best: CurvePoint, validation: Validation) -> dict[str, float]:
    named = {
        NDCG: best.ndcg,
        f"validation_recall_at_{VALIDATION_K}": best.recall,
        "training_loss": best.loss,
        "validation_users": float(len(np.unique(validation.owners))),
    }
    return {name: value for name, value in named.items() if value is not None}


def _judge(model: InterestModel, validation: Validation) -> tuple[float | None, float | None]:
    """Mean NDCG and recall at VALIDATION_K over the validation users; None without users."""
    if not len(validation.owners):
        return None, None
    best, _ = score(model, validation.histories, VALIDATION_K, masked=validation.masked)
    width = len(model.vocabulary.items) + 1
    relevant = np.unique(validation.owners * width + validation.items)
    hits = np.isin(np.arange(len(best))[:, None] * width + best + 1, relevant)
    counts = np.bincount(validation.owners, minlength=len(best))
    return float(ndcg_at_k(hits, counts).mean()), float(recall_at_k(hits, counts).mean())


def _fingerprint(
    learnable: Sequences,
    validation: Validation,
    start: InterestModel | None,
    attributes: ItemAttributes | None,
    told: str,
) -> str:
    """What a checkpoint has to agree with: the same here and in `told`, the same weights at the end."""
    version = start.version if start is not None else None
    digest = hashlib.sha256(f"{told} {version} {validation.masked}".encode())
    described = (attributes.offsets, attributes.codes, attributes.content) if attributes is not None else ()
    judged_on = (validation.owners, validation.items)
    for array in (learnable.offsets, learnable.items, learnable.days, *judged_on, *described):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _shape(
    vocabulary: Vocabulary, settings: ModelSettings, attributes: ItemAttributes | None, *, repeats: bool
) -> Shape:
    return Shape(
        items=len(vocabulary.items),
        categories=len(vocabulary.categories),
        dimensions=settings.dimensions,
        layers=settings.layers,
        heads=settings.heads,
        dropout=settings.dropout,
        maximum_length=settings.maximum_length,
        repeats=repeats,
        attributes=attributes.count if attributes is not None else 0,
        attribute_entries=len(attributes.codes) if attributes is not None else 0,
        content=attributes.content.shape[1] if attributes is not None else 0,
        item_dropout=settings.item_dropout,
        architecture=settings.architecture,
    )


def _device(wanted: str) -> torch.device:
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _half(settings: ModelSettings, device: torch.device) -> bool:
    """Whether the large products are of bfloat16 numbers: where asked, or where the processor is made for it."""
    return settings.precision == "bfloat16" or (settings.precision == "auto" and has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers faster than others."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seeded, deterministic kernels and a fixed number of threads; all as before afterwards."""
    deterministic, threads_before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    fill_before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing here reads memory before it is written, and filling it costs a tenth of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.utils.deterministic.fill_uninitialized_memory = fill_before  # type: ignore[attr-defined]
            torch.set_num_threads(threads_before)


def _log(curve: tuple[CurvePoint, ...], folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for point in curve:
            for name, value in (("loss", point.loss), ("ndcg", point.ndcg), ("recall", point.recall)):
                if value is not None:
                    writer.add_scalar(name, value, point.step)
