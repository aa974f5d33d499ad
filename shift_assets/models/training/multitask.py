"""Teaching the heads beside the next item: batches of looks and of spliced histories, and how good the heads are.

Each step of a training draws chunks of its own: the item's chunks end where a user's last later visit begins, and who
never comes back would be missing from the churn.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from shift_assets.arrays import BoolArray, Float32Array, Int64Array
from shift_assets.models.data.event_splices import shift_labels, splices
from shift_assets.models.data.labels import CHURN_WEEKS, labels
from shift_assets.models.data.prediction_points import Timeline
from shift_assets.models.data.sequences import Chunks, Sequences, Vocabulary, chunks, flat_ranges
from shift_assets.models.inference.head_inputs import POINTS_PER_BLOCK, HeadInputs, PredictionPoints
from shift_assets.models.inference.scoring import InterestModel, batch_of
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import (
    Heads,
    Priors,
    Task,
)
from shift_assets.models.training.head_losses import label_losses, shift_loss, weighted_loss
from shift_assets.settings.root import TaskSettings

SPLICED_USERS = 256


FINISH_CHUNKS = 256
"""Chunks whose looks the heads learn from when the encoder stands."""


HEADS_DECAY = 0.01


MINIMUM_POINTS = 30
"""Looks after which a week has to lie within the log, for its return to be told: stray early events are in many."""


HELD_OUT_EVERY = 4
"""One user in so many is kept from the splices that teach, and judges the shift head."""


CHUNKS_PER_SHIFT_PAIR = 4


class ShiftExamples(NamedTuple):
    """Looks at spliced and whole histories from the cut on, and which of them follow a shift; chunks that hold them."""

    prediction_points: PredictionPoints
    shifted: BoolArray
    pieces: Chunks


class TaskPlan(NamedTuple):
    """What to teach beside the next item.

    `points[behaviour code]` weigh events in the shares of categories; no label looks past `last_day`, the day up to
    which the log was seen.
    """

    settings: TaskSettings
    points: Float32Array
    last_day: int


class TaskTraining:
    """What the steps of one training need to teach the heads, and the heads themselves.

    `start` is an earlier model whose heads are continued, where it has some of this size.
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
        settings, points, last_day = plan
        self.settings, self.points, self.vocabulary = settings, points, vocabulary
        self._random = np.random.default_rng([seed, 2])
        length = network.shape.maximum_length
        timeline = Timeline(learnable)
        self._points = PredictionPoints(timeline, timeline.prediction_points(last_day, seed))
        self._labels = labels(timeline, self._points.prediction_times, last_day, settings.horizon_days, points)
        week_ends = self._points.prediction_times.days[:, None] + 7 * np.arange(1, CHURN_WEEKS + 1)
        self.churn_weeks = int(((week_ends <= last_day).sum(axis=0) >= MINIMUM_POINTS).sum())
        self._pieces = chunks(learnable, length)
        self.shift_examples = shift_examples(learnable, last_day, settings, seed, length, held_out=False)
        self.priors = Priors.of(
            self._labels, len(vocabulary.categories), spliced=bool(self.shift_examples.shifted.any())
        )
        self._item_entropy = float(np.log(max(len(vocabulary.items), 2)))
        self.heads = Heads(network.shape.dimensions, len(vocabulary.categories))
        sample = self._points.prediction_times.take(
            self._random.permutation(len(self._points.prediction_times))[: 4 * POINTS_PER_BLOCK]
        )
        features = timeline.features(sample, length)
        self.heads.initialise(self.priors, features.mean(axis=0), features.std(axis=0))
        self._steps = settings.steps
        if (
            start is not None
            and start.trained_heads is not None
            and _copy_weights(self.heads, start.trained_heads.heads)
        ):
            self._steps = settings.warm_steps
        self.heads.to(network.device)

    @property
    def trains_encoder(self) -> bool:
        """Whether any task teaches the encoder; otherwise the heads only learn once it stands."""
        return bool(self._weights(attached_only=True))

    def loss(self, network: CausalEncoder) -> Tensor:
        """The weighted loss of the next batch of the tasks that teach the encoder, in the unit of the item's loss."""
        count = self.settings.batch_size
        weights = self._weights(attached_only=True)
        losses: dict[Task, Tensor] = {}
        if weights.keys() - {"shift"}:
            which, inputs = self._read(
                network, self._points, self._pieces, self._drawn(len(self._pieces.starts), count)
            )
            losses |= label_losses(self.heads(*inputs), self._labels.take(which))
        if "shift" in weights and len(self.shift_examples.pieces.starts):
            which, inputs = self._read(network, *self._shift_chunks(count // CHUNKS_PER_SHIFT_PAIR))
            losses |= shift_loss(self.heads(*inputs), self.shift_examples.shifted[which])
        variances = self.heads.log_variances if self.settings.weighting == "uncertainty" else None
        return self._item_entropy * weighted_loss(losses, self.priors, weights, variances)

    def finish(self, network: CausalEncoder) -> None:
        """Let the heads alone take the settings' steps, of all tasks, on what the standing encoder says.

        The encoder stops early, when the next item is foretold best; the heads would stop half-taught.
        """
        network.eval()
        with torch.no_grad():
            drawn = self._drawn(len(self._pieces.starts), FINISH_CHUNKS)
            which, inputs = self._read(network, self._points, self._pieces, drawn)
            if len(self.shift_examples.pieces.starts):
                shift_which, shift_inputs = self._read(network, *self._shift_chunks(FINISH_CHUNKS))
        rate = self.settings.learning_rate
        optimiser = torch.optim.AdamW(self.heads.parameters(), rate, weight_decay=HEADS_DECAY, fused=True)
        self.heads.train()
        found = self._labels.take(which)
        weights = self._weights(attached_only=False)
        for _ in range(self._steps if len(which) else 0):
            rows = np.sort(self._drawn(len(which), POINTS_PER_BLOCK))
            losses = label_losses(self.heads(*inputs.take(torch.from_numpy(rows).to(network.device))), found.take(rows))
            if len(self.shift_examples.pieces.starts):
                rows = np.sort(self._drawn(len(shift_which), POINTS_PER_BLOCK))
                predicted = self.heads(*shift_inputs.take(torch.from_numpy(rows).to(network.device)))
                losses |= shift_loss(predicted, self.shift_examples.shifted[shift_which[rows]])
            loss = weighted_loss(losses, self.priors, weights, None)
            if not loss.requires_grad:
                continue  # of the tasks asked for, none has a label among these looks
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

    def _weights(self, *, attached_only: bool) -> dict[Task, float]:
        stopped = self.settings.stop_gradient if attached_only else ()
        return {task: weight for task, weight in self.settings.weights.items() if weight and task not in stopped}

    def _drawn(self, count: int, wanted: int) -> Int64Array:
        return self._random.permutation(count)[:wanted]

    def _shift_chunks(self, pairs: int) -> tuple[PredictionPoints, Chunks, Int64Array]:
        """Random pairs of the same history spliced and whole."""
        drawn = self._drawn(len(self.shift_examples.pieces.starts) // 2, max(pairs, 1))
        return (
            self.shift_examples.prediction_points,
            self.shift_examples.pieces,
            np.concatenate([2 * drawn, 2 * drawn + 1]),
        )

    def _read(
        self, network: CausalEncoder, prediction_points: PredictionPoints, pieces: Chunks, drawn: Int64Array
    ) -> tuple[Int64Array, HeadInputs]:
        """The looks within the drawn chunks, and what the heads read of them."""
        which, vectors = _encode_chunks(network, prediction_points, Chunks(pieces.starts[drawn], pieces.lengths[drawn]))
        prediction_times = PredictionPoints(prediction_points.timeline, prediction_points.prediction_times.take(which))
        return which, HeadInputs.of(prediction_times, vectors, network, self.vocabulary)


def shift_examples(
    sequences: Sequences, last_day: int, settings: TaskSettings, seed: int, maximum_length: int, *, held_out: bool
) -> ShiftExamples:
    """Splices of the users held out from teaching, or of the others; looks at the first active days from the cut on."""
    fold = np.array([crc32(user.encode()) % HELD_OUT_EVERY == 0 for user in sequences.users], dtype=bool)
    mine = sequences.of_users(np.flatnonzero(fold == held_out))
    active_days = settings.shift_active_days
    made = splices(mine, active_days, seed, maximum_users=SPLICED_USERS)
    timeline = Timeline(made.sequences)
    owners = np.arange(len(made.cuts))
    first = timeline.first_from(owners, made.cuts)
    ends = made.sequences.offsets[1:]
    if len(owners):
        beyond = timeline.visits[first] + active_days
        ends = np.minimum(
            ends, np.append(timeline.visit_starts, ends[-1])[np.minimum(beyond, len(timeline.visit_starts))]
        )
    starts = np.maximum(made.sequences.offsets[:-1], ends - maximum_length)
    prediction_points = timeline.prediction_points(last_day, seed)
    owner = timeline.owners[prediction_points.events]
    prediction_points = prediction_points.take(
        (prediction_points.events >= np.maximum(first, starts)[owner]) & (prediction_points.events < ends[owner])
    )
    shifted, _ = shift_labels(timeline, made, prediction_points, active_days)
    return ShiftExamples(PredictionPoints(timeline, prediction_points), shifted, Chunks(starts, ends - starts))


def _encode_chunks(
    network: CausalEncoder, prediction_points: PredictionPoints, pieces: Chunks
) -> tuple[Int64Array, Tensor]:
    """The looks within `pieces`, and the vectors [look, dimension] of their newest events."""
    order = np.argsort(pieces.lengths, kind="stable")
    starts, lengths = pieces.starts[order], pieces.lengths[order]
    batch, _ = batch_of(prediction_points.timeline.sequences, starts, lengths)
    events = prediction_points.prediction_times.events
    row, which = flat_ranges(np.searchsorted(events, starts), np.searchsorted(events, starts + lengths))
    token = events[which] - starts[row] + (np.cumsum(lengths) - lengths)[row]
    states = network(batch.to(network.device))
    return which, states.index_select(0, torch.from_numpy(token).to(network.device))


def _copy_weights(heads: Heads, before: Heads) -> bool:
    """Copy the weights of `before` into `heads`, not what is counted anew; False where its size is another."""
    if before.dimensions != heads.dimensions:
        return False
    for own, old in zip(heads.parameters(), before.parameters(), strict=True):
        own.data.copy_(old.data)
    heads.mean.copy_(before.mean)
    heads.scale.copy_(before.scale)
    return True
