"""Training of the interest model on the window before a day.

The model of day D is trained on the days before D except the last `validation_days`. On those it is evaluated the way
it is used: from the histories before them, which items follow. So the weights served on D never saw the days that
selected them, and neither did the weights of the day before, from which they continue.
"""

from __future__ import annotations

import copy
import hashlib
import logging
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
from shift_assets.models.inference.scoring import score
from shift_assets.models.metrics import ndcg_at_k, recall_at_k
from shift_assets.models.network.blocks import Shape
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.network.precision import has_bfloat16
from shift_assets.models.network.threads import torch_threads
from shift_assets.models.training.checkpoints import Checkpoint, Progress
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
from shift_assets.models.training.parameters import ModelParameters

logger = logging.getLogger(__name__)

VALIDATION_K = 20
WEIGHT_DECAY = 0.01
GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation step: validation metrics, and the mean loss since the evaluation step before, if any."""

    step: int
    loss: float | None
    ndcg: float | None
    recall: float | None


@dataclass(frozen=True)
class FitResult:
    """The weights that were best on the validation, and how they were reached.

    Attributes:
        model: The model, on the CPU.
        curve: All evaluation steps.
        best_step: Step of the weights.
        warm: Whether the training continued another model's weights.
        cpu_seconds: Processor time of the process.
        tasks: The trained heads, where there are any.
    """

    model: InterestModel
    curve: tuple[CurvePoint, ...]
    best_step: int
    warm: bool
    cpu_seconds: float
    tasks: TaskTraining | None = None

    @property
    def best(self) -> CurvePoint:
        """The evaluation step of the best weights."""
        return next(point for point in self.curve if point.step == self.best_step)


def fit(
    learnable: Sequences,
    vocabulary: Vocabulary,
    validation: Validation,
    settings: ModelParameters,
    *,
    seed: int,
    start: InterestModel | None = None,
    attributes: ItemAttributes | None = None,
    tasks: TaskPlan | None = None,
    # For long trainings on a GPU, which may be pre-empted.
    checkpoint: Path | None = None,
    on_progress: Callable[[CurvePoint], None] | None = None,
) -> FitResult:
    """Train a model on `learnable`, with early stopping on `validation`.

    The process's random state, threads and determinism are restored afterwards. The same arguments give the same
    weights, bit by bit, on one machine's CPU.

    Args:
        learnable: Events to train on, in codes of `vocabulary`; may overlap the validation histories.
        vocabulary: Items and categories of the model.
        validation: Histories and the items taken after them, in codes of `vocabulary`.
        settings: Shape and training of the model.
        seed: Seed of everything random.
        start: A model to continue if it has the same shape: known items and categories keep their weights, new items
            start at the mean of their category.
        attributes: Attributes of the items, from which items that nobody took get a vector as well.
        tasks: What is trained alongside the next item; early stopping depends on the next item alone.
        checkpoint: File that holds the state after every evaluation step. A killed training with the same arguments
            continues from it; it is removed at the end.
        on_progress: Called at every evaluation step.

    Raises:
        ValueError: `learnable` holds no training point, or a checkpoint is asked for together with `tasks`, whose
            state it would not hold.
        CheckpointError: The checkpoint is damaged or belongs to another training.
    """
    began = process_time()
    points = Points.of(learnable, settings)
    if not len(points.events):
        raise ValueError("nothing to train on: no user has an event that another one follows")
    if checkpoint is not None and tasks is not None:
        raise ValueError("a training with tasks writes no checkpoint: leave out one of the two")
    with _reproducible(seed, settings.threads):
        repeats = settings.copy_mechanism and not validation.masked
        network = CausalEncoder(_shape(vocabulary, settings, attributes, repeats=repeats))
        warm = _initialise(network, vocabulary, learnable, settings, seed=seed, start=start, attributes=attributes)
        device = _device(settings.device)
        ranks = Ranks.from_environment(device) if settings.distributed else Ranks()
        model = InterestModel(network.to(device), vocabulary)
        task_training = None
        if tasks is not None:
            earlier = start if warm else None
            task_training = TaskTraining(learnable, vocabulary, tasks, network=network, seed=seed, start=earlier)
        resumable = None
        if checkpoint is not None:
            fingerprint = _fingerprint(learnable, validation, start, attributes, f"{settings} {seed}")
            resumable = Checkpoint(checkpoint, fingerprint)
        loop = _TrainingLoop(model, validation, task_training, settings, on_progress)
        loop.run(points, seed=seed, warm=warm, checkpoint=resumable, ranks=ranks)
        if resumable is not None:
            resumable.remove()
        network.to("cpu").eval()
        if attributes is not None:
            zero_unseen_items(network, learnable)
    seconds = process_time() - began
    best_step = loop.progress.best_step
    logger.info(
        "trained on %d points of %d users: best step %d, %.1f CPU seconds",
        *(len(points.events), len(learnable.users), best_step, seconds),
    )
    return FitResult(InterestModel(network, vocabulary), loop.curve, best_step, warm, seconds, task_training)


def _initialise(
    network: CausalEncoder,
    vocabulary: Vocabulary,
    learnable: Sequences,
    settings: ModelParameters,
    *,
    seed: int,
    start: InterestModel | None,
    attributes: ItemAttributes | None,
) -> bool:
    """Set the weights that the training starts from; True where they are those of `start`."""
    if attributes is not None:
        network.set_item_attributes(attributes)
    with torch.no_grad():
        network.item_bias.copy_(log_popularity(learnable, len(vocabulary.items)))
    warm = start is not None and transfer_weights(network, vocabulary, start)
    if settings.item_initialisation == "transitions" and not warm:
        initialise_item_embeddings(network, learnable, seed)
    if attributes is not None:
        zero_unseen_items(network, learnable)
    return warm


class _TrainingLoop:
    """Steps with evaluation steps between them, early stopping, and the best weights restored at the end."""

    def __init__(
        self,
        model: InterestModel,
        validation: Validation,
        tasks: TaskTraining | None,
        settings: ModelParameters,
        on_progress: Callable[[CurvePoint], None] | None,
    ) -> None:
        self.model, self.validation, self.tasks, self.settings = model, validation, tasks, settings
        self.on_progress = on_progress
        self.progress = Progress()
        self._modules = nn.ModuleList([model.network] + ([tasks.heads] if tasks else []))
        self._best: dict[str, torch.Tensor] = {}
        self._losses: list[torch.Tensor] = []
        self._mixed_precision = _uses_bfloat16(settings, model.network.device)

    def run(self, points: Points, *, seed: int, warm: bool, checkpoint: Checkpoint | None, ranks: Ranks) -> None:
        """Train until the last step or early stopping, from the checkpoint if it exists."""
        network, settings = self.model.network, self.settings
        examples = Examples(
            points, network.shape.items, settings, repeats=network.shape.repeats, newest_first=warm, ranks=ranks
        )
        steps, eval_every = _training_length(settings, examples, warm)
        optimiser = self._optimiser(settings.warm_learning_rate if warm else settings.learning_rate)
        rates = [group["lr"] for group in optimiser.param_groups]
        if checkpoint is not None and checkpoint.exists():
            self.progress, self._best = checkpoint.load(self._modules, optimiser)
        elif warm:
            self._evaluate(0)
        done = self.progress.step
        remaining = islice(examples.steps(np.random.default_rng(seed)), done, done if self._stopped else steps)
        if ranks.count > 1:
            torch.manual_seed(seed + ranks.rank)
        for step, example in enumerate(prefetch(remaining, network.device), start=done + 1):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 1.1 - (step - 1) / steps)
            self._step(example, optimiser, ranks)
            if step % eval_every == 0 or step == steps:
                self._evaluate(step)
                self._losses.clear()
                if checkpoint is not None and ranks.rank == 0:
                    checkpoint.save(self.progress, self._modules, self._best, optimiser)
            if self._stopped:
                break
        self._modules.load_state_dict(self._best)
        if self.tasks is not None:
            self.tasks.finish(network)

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The evaluation steps so far."""
        return tuple(CurvePoint(*point) for point in self.progress.curve)

    @property
    def _stopped(self) -> bool:
        return self.progress.evaluations_without_gain > self.settings.patience

    def _optimiser(self, rate: float) -> torch.optim.Optimizer:
        """AdamW over the network, and the heads with their own learning rate."""
        groups: list[dict[str, Any]] = [{"params": list(self.model.network.parameters()), "lr": rate}]
        if self.tasks is not None:
            heads_rate = self.tasks.settings.learning_rate * rate / self.settings.learning_rate
            groups.append({"params": list(self.tasks.heads.parameters()), "lr": heads_rate})
        return torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)

    def _step(self, example: Example, optimiser: torch.optim.Optimizer, ranks: Ranks) -> None:
        """One update of all weights; gradients are clipped per group."""
        network = self.model.network
        self._modules.train()
        loss = step_loss(network, example, self.settings, mixed_precision=self._mixed_precision)
        optimiser.zero_grad(set_to_none=True)
        (loss + self.tasks.loss(network) if self.tasks and self.tasks.trains_encoder else loss).backward()
        for group in optimiser.param_groups:
            ranks.average_gradients(group["params"], len(example.points))
            torch.nn.utils.clip_grad_norm_(group["params"], GRADIENT_NORM)
        optimiser.step()
        self._losses.append(loss.detach())

    def _evaluate(self, step: int) -> None:
        """Evaluate the weights on the validation, and keep a copy of them if they are the best so far."""
        ndcg, recall = validation_metrics(self.model, self.validation)
        loss = float(torch.stack(self._losses).mean()) if self._losses else None
        progress = self.progress
        progress.step = step
        progress.curve.append((step, loss, ndcg, recall))
        if self.on_progress is not None:
            self.on_progress(self.curve[-1])
        # Without validation users nothing can stop the training: the last weights are the result.
        if ndcg is not None and ndcg <= progress.best_ndcg:
            progress.evaluations_without_gain += step > 0
            return
        progress.best_ndcg, progress.best_step = ndcg if ndcg is not None else -1.0, step
        progress.evaluations_without_gain = 0
        self._best = copy.deepcopy(self._modules.state_dict())


def step_loss(
    network: CausalEncoder, example: Example, settings: ModelParameters, *, mixed_precision: bool
) -> torch.Tensor:
    """Mean loss of the example's points over its candidates, by the settings' loss."""
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


def _training_length(settings: ModelParameters, examples: Examples, warm: bool) -> tuple[int, int]:
    """Maximum number of steps, and steps between two evaluation steps."""
    if warm:
        steps, eval_every = settings.warm_steps, settings.eval_every_steps
    elif settings.objective == "next_event":
        steps, eval_every = settings.maximum_epochs * examples.steps_per_epoch, examples.steps_per_epoch
    else:
        steps, eval_every = settings.maximum_steps, settings.eval_every_steps
    return steps, max(1, min(eval_every, steps))


def validation_metrics(model: InterestModel, validation: Validation) -> tuple[float | None, float | None]:
    """Mean NDCG and recall at VALIDATION_K over the validation users; None where there are none."""
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
    """Digest of everything that the final weights depend on; `run_settings` are settings and seed."""
    version = start.version if start is not None else None
    digest = hashlib.sha256(f"{run_settings} {version} {validation.masked}".encode())
    described = (attributes.offsets, attributes.codes, attributes.content) if attributes is not None else ()
    validation_arrays = (validation.owners, validation.items)
    for array in (learnable.offsets, learnable.items, learnable.days, *validation_arrays, *described):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _shape(
    vocabulary: Vocabulary, settings: ModelParameters, attributes: ItemAttributes | None, *, repeats: bool
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
        # For catalogues with many new items: item_dropout trains attributes to stand in for missing item vectors.
        item_dropout=settings.item_dropout,
        architecture=settings.architecture,
    )


def _device(wanted: str) -> torch.device:
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _uses_bfloat16(settings: ModelParameters, device: torch.device) -> bool:
    """Whether large matrix products use bfloat16: by the settings, or where the hardware is faster with it."""
    return settings.precision == "bfloat16" or (settings.precision == "auto" and has_bfloat16(device))


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seed torch, and use deterministic kernels and a fixed number of threads; restore all of it afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill_before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with torch.random.fork_rng(), torch_threads(threads):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # No kernel here reads uninitialised memory, and filling it costs a tenth of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.utils.deterministic.fill_uninitialized_memory = fill_before  # type: ignore[attr-defined]
