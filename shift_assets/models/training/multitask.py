"""Training of the heads alongside the next item: batches of prediction points and of spliced histories.

Each training step draws chunks of its own for the heads. The chunks of the next-item loss end before a user's last
visit, so users who never come back would be missing from the churn labels.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.models.data.labels import CHURN_WEEKS, labels
from shift_assets.models.data.prediction_points import PredictionPoints, Timeline
from shift_assets.models.data.sequences import Chunks, Sequences, Vocabulary, chunks, flat_ranges
from shift_assets.models.data.spliced_histories import shift_labels, splice_at_random_days
from shift_assets.models.inference.head_inputs import POINTS_PER_BLOCK, HeadInputs
from shift_assets.models.inference.scoring import batch_of
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import Heads, Priors, Task
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.training.head_losses import label_losses, shift_loss, weighted_loss
from shift_assets.models.training.parameters import TaskParameters

SPLICED_USERS = 256
FINISH_CHUNKS = 256
"""Chunks whose prediction points the heads are trained on once the encoder is final."""
HEADS_DECAY = 0.01
MINIMUM_POINTS = 30
"""Prediction points whose n-th week was observed completely, below which a return in week n is not predicted.

Only stray early events are followed by the last weeks of a log.
"""
HELD_OUT_EVERY = 4
"""One user in this many is held out from the training of the shift head, and evaluates it."""
CHUNKS_PER_SHIFT_PAIR = 4


class ShiftExamples(NamedTuple):
    """Prediction points of spliced and unspliced histories from the splice day on.

    `shifted[point]` says whether the point follows a splice; `pieces[history]` are the chunks that hold the points.
    """

    points: PredictionPoints
    shifted: BoolArray
    pieces: Chunks


class TaskPlan(NamedTuple):
    """What is trained alongside the next item.

    `event_scores[behaviour code]` weigh events in the category shares; no label uses an event after `last_day`, the
    last observed day.
    """

    settings: TaskParameters
    event_scores: Float32Array
    last_day: int


class TaskTraining:
    """The heads, and what the steps of one training need to train them.

    Attributes:
        heads: The heads in training.
        priors: Predictions without features, and their entropies.
        churn_weeks: Weeks in which a return is predicted.
    """

    def __init__(
        self,
        learnable: Sequences,
        vocabulary: Vocabulary,
        plan: TaskPlan,
        *,
        network: CausalEncoder,
        seed: int,
        start: InterestModel | None = None,
    ) -> None:
        """Prepare examples and heads.

        Args:
            learnable: The events to train on, in codes of `vocabulary`.
            vocabulary: The model's vocabulary.
            plan: The tasks.
            network: The encoder, for its sizes and device.
            seed: Seed of the examples and their order.
            start: An earlier model, whose heads are continued where they have the same size.
        """
        settings, event_scores, last_day = plan
        self.settings, self.event_scores, self.vocabulary = settings, event_scores, vocabulary
        self._random = np.random.default_rng([seed, 2])
        length = network.shape.maximum_length
        self._points = Timeline(learnable).prediction_points(last_day, seed)
        self._labels = labels(self._points, last_day, settings.horizon_days, event_scores)
        self.churn_weeks = _observed_weeks(self._points, last_day)
        self._pieces = chunks(learnable, length)
        self.shift_examples = shift_examples(learnable, last_day, settings, seed, length, held_out=False)
        self.priors = Priors.of(
            self._labels, len(vocabulary.categories), spliced=bool(self.shift_examples.shifted.any())
        )
        self._item_entropy = float(np.log(max(len(vocabulary.items), 2)))
        self.heads = self._initial_heads(network, length)
        self._steps = settings.steps
        if (
            start is not None
            and start.trained_heads is not None
            and _copy_weights(self.heads, start.trained_heads.heads)
        ):
            self._steps = settings.warm_steps
        self.heads.to(network.device)

    def _initial_heads(self, network: CausalEncoder, maximum_length: int) -> Heads:
        """Heads that predict the priors, with features standardised on a sample of the prediction points."""
        heads = Heads(network.shape.dimensions, len(self.vocabulary.categories))
        sample = self._points.take(self._random.permutation(len(self._points))[: 4 * POINTS_PER_BLOCK])
        features = sample.features(maximum_length)
        heads.initialise(self.priors, features.mean(axis=0), features.std(axis=0))
        return heads

    @property
    def trains_encoder(self) -> bool:
        """Whether any task trains the encoder; otherwise the heads are trained only once it is final."""
        return bool(self._weights(attached_only=True))

    def loss(self, network: CausalEncoder) -> Tensor:
        """Weighted loss of the next batch of the tasks that train the encoder, in units of the next-item loss."""
        count = self.settings.batch_size
        weights = self._weights(attached_only=True)
        losses: dict[Task, Tensor] = {}
        if weights.keys() - {"shift"}:
            which, inputs = self._encode(
                network, self._points, self._pieces, self._drawn(len(self._pieces.starts), count)
            )
            losses |= label_losses(self.heads(*inputs), self._labels.take(which))
        if "shift" in weights and len(self.shift_examples.pieces.starts):
            which, inputs = self._encode(network, *self._shift_chunks(count // CHUNKS_PER_SHIFT_PAIR))
            losses |= shift_loss(self.heads(*inputs), self.shift_examples.shifted[which])
        variances = self.heads.log_variances if self.settings.weighting == "uncertainty" else None
        return self._item_entropy * weighted_loss(losses, self.priors, weights, variances)

    def finish(self, network: CausalEncoder) -> None:
        """Train the heads alone, on all tasks, on the vectors of the final encoder.

        The encoder stops early, when its next-item metric is best; by then the heads have not converged.
        """
        network.eval()
        has_shifts = bool(len(self.shift_examples.pieces.starts))
        with torch.no_grad():
            drawn = self._drawn(len(self._pieces.starts), FINISH_CHUNKS)
            which, inputs = self._encode(network, self._points, self._pieces, drawn)
            if has_shifts:
                shift_which, shift_inputs = self._encode(network, *self._shift_chunks(FINISH_CHUNKS))
        rate = self.settings.learning_rate
        optimiser = torch.optim.AdamW(self.heads.parameters(), rate, weight_decay=HEADS_DECAY, fused=True)
        self.heads.train()
        found = self._labels.take(which)
        weights = self._weights(attached_only=False)
        for _ in range(self._steps if len(which) else 0):
            rows, batch = self._batch(inputs, len(which), network.device)
            losses = label_losses(self.heads(*batch), found.take(rows))
            if has_shifts:
                rows, batch = self._batch(shift_inputs, len(shift_which), network.device)
                losses |= shift_loss(self.heads(*batch), self.shift_examples.shifted[shift_which[rows]])
            loss = weighted_loss(losses, self.priors, weights, None)
            if not loss.requires_grad:
                continue  # none of the tasks has a label among these points
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

    def _batch(self, inputs: HeadInputs, count: int, device: torch.device) -> tuple[Int64Array, HeadInputs]:
        """At most POINTS_PER_BLOCK of the `count` points, at random, and their inputs."""
        rows = np.sort(self._drawn(count, POINTS_PER_BLOCK))
        return rows, inputs.take(torch.from_numpy(rows).to(device))

    def _weights(self, *, attached_only: bool) -> dict[Task, float]:
        stopped = self.settings.stop_gradient if attached_only else ()
        return {task: weight for task, weight in self.settings.weights.items() if weight and task not in stopped}

    def _drawn(self, count: int, wanted: int) -> Int64Array:
        return self._random.permutation(count)[:wanted]

    def _shift_chunks(self, pairs: int) -> tuple[PredictionPoints, Chunks, Int64Array]:
        """Random pairs of an unspliced and a spliced history of the same user."""
        drawn = self._drawn(len(self.shift_examples.pieces.starts) // 2, max(pairs, 1))
        return (
            self.shift_examples.points,
            self.shift_examples.pieces,
            np.concatenate([2 * drawn, 2 * drawn + 1]),
        )

    def _encode(
        self, network: CausalEncoder, points: PredictionPoints, pieces: Chunks, drawn: Int64Array
    ) -> tuple[Int64Array, HeadInputs]:
        """The points within the drawn chunks, and the inputs of the heads at them."""
        which, vectors = _encode_chunks(network, points, Chunks(pieces.starts[drawn], pieces.lengths[drawn]))
        return which, HeadInputs.of(points.take(which), vectors, network, self.vocabulary)


def shift_examples(
    sequences: Sequences, last_day: int, settings: TaskParameters, seed: int, maximum_length: int, *, held_out: bool
) -> ShiftExamples:
    """Spliced histories with prediction points on the first active days from the splice day on.

    Args:
        sequences: The events.
        last_day: Last observed day, as a count from 1970-01-01.
        settings: The tasks' settings.
        seed: Seed of splice days and donors.
        maximum_length: Longest chunk that the encoder reads.
        held_out: Whether the users are those held out from training, or the others.
    """
    fold = np.array([crc32(user.encode()) % HELD_OUT_EVERY == 0 for user in sequences.users], dtype=bool)
    own = sequences.of_users(np.flatnonzero(fold == held_out))
    active_days = settings.shift_active_days
    histories = splice_at_random_days(own, active_days, seed, maximum_users=SPLICED_USERS)
    timeline = Timeline(histories.sequences)
    first, ends = histories.first_event, histories.sequences.offsets[1:]
    if len(ends):
        following = timeline.visits[first] + active_days
        ends = np.minimum(
            ends, np.append(timeline.visit_starts, ends[-1])[np.minimum(following, len(timeline.visit_starts))]
        )
    starts = np.maximum(histories.sequences.offsets[:-1], ends - maximum_length)
    points = timeline.prediction_points(last_day, seed)
    owner = points.owners
    points = points.take((points.events >= np.maximum(first, starts)[owner]) & (points.events < ends[owner]))
    shifted, _ = shift_labels(histories, points, active_days)
    return ShiftExamples(points, shifted, Chunks(starts, ends - starts))


def _observed_weeks(points: PredictionPoints, last_day: int) -> int:
    """Weeks after a point that were observed completely for at least MINIMUM_POINTS points."""
    week_ends = points.days[:, None] + 7 * np.arange(1, CHURN_WEEKS + 1)
    return int(((week_ends <= last_day).sum(axis=0) >= MINIMUM_POINTS).sum())


def _encode_chunks(network: CausalEncoder, points: PredictionPoints, pieces: Chunks) -> tuple[Int64Array, Tensor]:
    """The points within `pieces`, and the encoder vectors [point, dimension] at their newest events."""
    order = np.argsort(pieces.lengths, kind="stable")
    starts, lengths = pieces.starts[order], pieces.lengths[order]
    batch, _ = batch_of(points.timeline.sequences, starts, lengths)
    row, which = flat_ranges(np.searchsorted(points.events, starts), np.searchsorted(points.events, starts + lengths))
    token = points.events[which] - starts[row] + (np.cumsum(lengths) - lengths)[row]
    states = network(batch.to(network.device))
    return which, states.index_select(0, torch.from_numpy(token).to(network.device))


def _copy_weights(heads: Heads, before: Heads) -> bool:
    """Copy the trained weights of `before` into `heads`, but not the priors; False where the sizes differ."""
    if before.dimensions != heads.dimensions:
        return False
    for own, old in zip(heads.parameters(), before.parameters(), strict=True):
        own.data.copy_(old.data)
    heads.mean.copy_(before.mean)
    heads.scale.copy_(before.scale)
    return True
