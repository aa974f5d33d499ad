"""Training of the next-item model on the window before a day.

A model of day D learns from the days before D less the last `validation_days`, on which it is judged as it is
used: from the histories before them, which items come. So the weights served on D never saw the days that chose
them, nor did yesterday's weights, from which they start.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from shift_assets.models.data.item_attributes import ItemAttributes
from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.data.validation import Validation
from shift_assets.models.inference.scoring import InterestModel, score
from shift_assets.models.metrics import ndcg_at_k, recall_at_k
from shift_assets.models.network.blocks import Shape
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.precision import has_bfloat16
from shift_assets.models.network.threads import torch_threads
from shift_assets.models.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from shift_assets.models.training.distributed import Ranks
from shift_assets.models.training.examples import Example, Examples, Points, prefetch
from shift_assets.models.training.initial_weights import (
    initialise_item_embeddings,
    log_popularity,
    transfer_weights,
    zero_unseen_items,
)
from shift_assets.models.training.losses import (
    LogitBoosts,
    NegativeSampling,
    Targets,
    chosen_loss,
    cross_entropy,
    generalised_binary_cross_entropy,
    plain_cross_entropy,
)
from shift_assets.models.training.multitask import TaskPlan, TaskTraining
from shift_assets.settings.root import ModelSettings

VALIDATION_K = 20


@dataclass(frozen=True)
class CurvePoint:
    """One look at the model in training; the loss is the mean since the look before, None at the first."""

    step: int
    loss: float | None
    ndcg: float | None
    recall: float | None


@dataclass(frozen=True)
class FitResult:
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
    on_progress: Callable[[CurvePoint], None] | None = None,
) -> FitResult:
    """A model trained on all of `learnable`, stopped early by `validation`, whose histories it may share.

    `learnable` and `validation` are in the codes of `vocabulary`. `start`: a model to continue where its shape is
    this one's; rows of known items and categories are kept, new items start at the mean of their category.
    `attributes`: what is known of the items, so that one that nobody took has a vector too. `tasks`: what else is
    learned beside the next item, which alone decides when to stop. `checkpoint`: a file where the state is kept at
    every look, from which a training of the same arguments goes on after it was killed; deleted at the end.
    `on_progress` is
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
            network.set_item_attributes(attributes)
        with torch.no_grad():
            network.item_bias.copy_(log_popularity(learnable, len(vocabulary.items)))
        warm = start is not None and transfer_weights(network, vocabulary, start)
        if settings.item_start == "transitions" and not warm:
            initialise_item_embeddings(network, learnable, seed)
        if attributes is not None:
            zero_unseen_items(network, learnable)
        device = _device(settings.device)
        ranks = Ranks.from_environment(device) if settings.distributed else Ranks()
        model = InterestModel(network.to(device), vocabulary)
        task_training = None
        if tasks is not None:
            earlier = start if warm else None
            task_training = TaskTraining(learnable, vocabulary, tasks, network=network, seed=seed, start=earlier)
        loop = _TrainingLoop(model, points, validation, task_training, on_progress)
        checkpoint_spec = (
            None
            if checkpoint is None
            else (checkpoint, _fingerprint(learnable, validation, start, attributes, f"{settings} {seed}"))
        )
        loop.run(settings, seed, warm, checkpoint_spec, ranks)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        network.to("cpu").eval()
        if attributes is not None:
            zero_unseen_items(network, learnable)
    taken = process_time() - began
    return FitResult(
        InterestModel(network, vocabulary), loop.curve, loop.progress.best_step, warm, taken, task_training
    )


class _TrainingLoop:
    """Steps, looks at the validation, best weights restored."""

    def __init__(
        self,
        model: InterestModel,
        points: Points,
        validation: Validation,
        tasks: TaskTraining | None,
        on_progress: Callable[[CurvePoint], None] | None,
    ) -> None:
        self.model, self.points, self.validation, self.tasks, self.on_progress = (
            model,
            points,
            validation,
            tasks,
            on_progress,
        )
        self._modules = nn.ModuleList([model.network] + ([tasks.heads] if tasks else []))
        self.progress = Progress()
        self._best: dict[str, torch.Tensor] = {}

    def run(
        self, settings: ModelSettings, seed: int, warm: bool, checkpoint_spec: tuple[Path, str] | None, ranks: Ranks
    ) -> None:
        """`checkpoint_spec`: the checkpoint's file, and what says that it is of this training."""
        network = self.model.network
        repeats = network.shape.repeats
        examples = Examples(self.points, network.shape.items, settings, repeats=repeats, newest_first=warm, ranks=ranks)
        steps, look_every = _training_length(settings, examples, warm)
        rate = settings.warm_learning_rate if warm else settings.learning_rate
        groups: list[dict[str, Any]] = [{"params": list(network.parameters()), "lr": rate}]
        if self.tasks is not None:
            heads_rate = self.tasks.settings.learning_rate * rate / settings.learning_rate
            groups.append({"params": list(self.tasks.heads.parameters()), "lr": heads_rate})
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        rates = [group["lr"] for group in optimiser.param_groups]
        mixed_precision = _uses_bfloat16(settings, network.device)
        losses: list[torch.Tensor] = []
        if checkpoint_spec is not None and checkpoint_spec[0].exists():
            self.progress, self._best = load_checkpoint(*checkpoint_spec, self._modules, optimiser)
        elif warm:
            self._evaluate(0, losses)
        done = self.progress.step
        last = done if self.progress.evaluations_without_gain > settings.patience else steps
        steps_left = islice(examples.steps(np.random.default_rng(seed)), done, last)
        if ranks.count > 1:
            torch.manual_seed(seed + ranks.rank)
        for step, example in enumerate(prefetch(steps_left, network.device), start=done + 1):
            self._modules.train()
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 1.1 - (step - 1) / steps)
            loss = step_loss(network, example, settings, mixed_precision=mixed_precision)
            optimiser.zero_grad(set_to_none=True)
            (loss + self.tasks.loss(network) if self.tasks and self.tasks.trains_encoder else loss).backward()
            for group in groups:
                ranks.average_gradients(group["params"], len(example.points))
                torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
            optimiser.step()
            losses.append(loss.detach())
            if step % look_every == 0 or step == steps:
                self._evaluate(step, losses)
                losses.clear()
                if checkpoint_spec is not None and ranks.rank == 0:
                    state = {"best": self._best, "optimiser": optimiser.state_dict()["state"]}
                    save_checkpoint(*checkpoint_spec, self.progress, self._modules, state)
            if self.progress.evaluations_without_gain > settings.patience:
                break
        self._modules.load_state_dict(self._best)
        if self.tasks is not None:
            self.tasks.finish(network)

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The looks so far."""
        return tuple(CurvePoint(*point) for point in self.progress.curve)

    def _evaluate(self, step: int, losses: list[torch.Tensor]) -> None:
        """Judge the weights on the validation, and keep them if they are the best so far."""
        ndcg, recall = validation_metrics(self.model, self.validation)
        loss = float(torch.stack(losses).mean()) if losses else None
        progress = self.progress
        progress.step = step
        progress.curve.append((step, loss, ndcg, recall))
        if self.on_progress is not None:
            self.on_progress(self.curve[-1])
        # Without validation users there is nothing to stop by: the last weights stand.
        if ndcg is not None and ndcg <= progress.best_ndcg:
            progress.evaluations_without_gain += step > 0
            return
        progress.best_ndcg, progress.best_step = ndcg if ndcg is not None else -1.0, step
        progress.evaluations_without_gain = 0
        self._best = copy.deepcopy(self._modules.state_dict())


def step_loss(
    network: CausalEncoder, example: Example, settings: ModelSettings, *, mixed_precision: bool
) -> torch.Tensor:
    """Mean loss of what the example's points foretell over its candidates, by the settings' loss."""
    device = network.device
    loss = chosen_loss(settings, network.shape.items)
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision and device.type == "cuda"):
        states = network(example.batch.to(device))
    vectors = states.float().index_select(0, example.points.to(device))
    if example.candidates is None:
        table, bias = network.item_rows()[1:], network.item_bias[1:]
    else:
        candidates = example.candidates.to(device)
        table, bias = network.item_rows(candidates), network.item_bias[candidates]
    if example.correction is not None and loss == "sampled":
        bias = bias + example.correction.to(device)
    boosts = None
    if example.taken is not None:
        points, taken, features = (part.to(device) for part in example.taken)
        boosts = LogitBoosts(points, taken, (network.repeat_gates(vectors)[points] * features).sum(-1))
    targets = Targets(*(part.to(device) for part in example.targets))
    if loss == "gbce":
        sampling = NegativeSampling(example.drawn, network.shape.items, settings.gbce_calibration)
        return generalised_binary_cross_entropy(vectors, table, bias, targets, boosts, sampling=sampling)
    if loss == "full":
        return plain_cross_entropy(vectors, table, bias, targets, boosts)
    return cross_entropy(vectors, table, bias, targets, boosts, mixed_precision=mixed_precision)


def _training_length(settings: ModelSettings, examples: Examples, warm: bool) -> tuple[int, int]:
    """Steps of the training at most, and steps between looks at the validation."""
    if warm:
        steps, look_every = settings.warm_steps, settings.look_every
    elif settings.objective == "next_event":
        steps, look_every = settings.maximum_epochs * examples.steps_per_epoch, examples.steps_per_epoch
    else:
        steps, look_every = settings.maximum_steps, settings.look_every
    return steps, max(1, min(look_every, steps))


def validation_metrics(model: InterestModel, validation: Validation) -> tuple[float | None, float | None]:
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
    run_settings: str,
) -> str:
    """What a checkpoint has to agree with: the same here and in `run_settings`, the same weights at the end."""
    version = start.version if start is not None else None
    digest = hashlib.sha256(f"{run_settings} {version} {validation.masked}".encode())
    described = (attributes.offsets, attributes.codes, attributes.content) if attributes is not None else ()
    validation_arrays = (validation.owners, validation.items)
    for array in (learnable.offsets, learnable.items, learnable.days, *validation_arrays, *described):
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


def _uses_bfloat16(settings: ModelSettings, device: torch.device) -> bool:
    """Whether the large products are of bfloat16 numbers: where asked, or where the processor is made for it."""
    return settings.precision == "bfloat16" or (settings.precision == "auto" and has_bfloat16(device))


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seeded, deterministic kernels and a fixed number of threads; all as before afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill_before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with torch.random.fork_rng(), torch_threads(threads):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing here reads memory before it is written, and filling it costs a tenth of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.utils.deterministic.fill_uninitialized_memory = fill_before  # type: ignore[attr-defined]
