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

from shift_assets.models.encoder import CausalEncoder
from shift_assets.models.heads import (
    Calibration,
    Foretelling,
    Foretold,
    Heads,
    Numbers,
    Priors,
    TakenCategories,
    Task,
    category_rows,
    combined,
    label_losses,
    shift_loss,
)
from shift_assets.models.labels import CHURN_WEEKS, labels, shift_labels, splices
from shift_assets.models.moments import Flags, Floats, Moments, Timeline
from shift_assets.models.ranking import auc
from shift_assets.models.scoring import InterestModel, batch_of
from shift_assets.models.sequences import Chunks, Integers, Sequences, Vocabulary, chunks, flat_ranges
from shift_assets.settings import TaskSettings

LOOKS_PER_BLOCK = 512
VALIDATION_USERS = 512
SPLICED_USERS = 256
FINISH_CHUNKS = 256
"""Chunks whose looks the heads learn from when the encoder stands."""
HEADS_DECAY = 0.01
CALIBRATED_WEEKS = 4
LEAST_LOOKS = 30
"""Looks after which a week has to lie within the log, for its return to be told: stray early events are in many."""
HELD_OUT = 4
"""One user in so many is kept from the splices that teach, and judges the shift head."""
CHUNKS_PER_SHIFT_PAIR = 4


class Looks(NamedTuple):
    """Looks at a log, ready to be foretold."""

    timeline: Timeline
    moments: Moments


class Shifts(NamedTuple):
    """Looks at spliced and whole histories from the cut on, and which of them follow a shift; chunks that hold them."""

    looks: Looks
    shifted: Flags
    pieces: Chunks


class Seen(NamedTuple):
    """What the heads read of looks: vectors [look, dimension], numbers [look, FEATURES], categories taken before.

    `category_rows` are those of the encoder, the same for all looks.
    """

    vectors: Tensor
    features: Tensor
    taken: TakenCategories
    category_rows: Tensor

    @classmethod
    def of(cls, looks: Looks, vectors: Tensor, network: CausalEncoder, vocabulary: Vocabulary) -> Seen:
        """Looks whose encoder vectors are `vectors`."""
        before = looks.timeline.taken_categories(looks.moments)
        known = before.items > 0
        times, recent = np.expm1(before.features[known][:, 1:]).T
        parts = (before.histories[known], before.items[known] - 1, times, recent)
        return cls(
            vectors,
            torch.from_numpy(looks.timeline.features(looks.moments, network.shape.maximum_length)).to(vectors.device),
            TakenCategories(*(torch.from_numpy(np.ascontiguousarray(part)).to(vectors.device) for part in parts)),
            category_rows(network, vocabulary),
        )

    def take(self, which: Tensor) -> Seen:
        """Only these looks, in this order."""
        lengths = torch.bincount(self.taken.looks, minlength=len(self.vectors))
        starts = torch.cumsum(lengths, 0) - lengths
        look = torch.repeat_interleave(torch.arange(len(which), device=which.device), lengths[which])
        first = torch.cumsum(lengths[which], 0) - lengths[which]
        entry = starts[which][look] + torch.arange(len(look), device=which.device) - first[look]
        taken = TakenCategories(look, *(part[entry] for part in self.taken[1:]))
        return Seen(self.vectors[which], self.features[which], taken, self.category_rows)


def look_vectors(network: CausalEncoder, sequences: Sequences, events: Integers) -> Tensor:
    """Vectors [look, dimension] at events, each of the newest events up to it; nothing is learned."""
    owners = np.searchsorted(sequences.offsets, events, side="right") - 1
    starts = np.maximum(sequences.offsets[owners], events + 1 - network.shape.maximum_length)
    lengths = events + 1 - starts
    order = np.argsort(lengths, kind="stable")
    vectors = torch.zeros((len(events), network.shape.dimensions), device=network.device)
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(order), LOOKS_PER_BLOCK):
            rows = order[first : first + LOOKS_PER_BLOCK]
            batch, _ = batch_of(sequences, starts[rows], lengths[rows])
            last = torch.from_numpy(np.cumsum(lengths[rows]) - 1).to(network.device)
            vectors[torch.from_numpy(rows).to(network.device)] = network(batch.to(network.device))[last]
    return vectors


def logits_at(model: InterestModel, heads: Heads, looks: Looks) -> Foretold:
    """What trained heads say of looks, on the CPU."""
    heads.eval()
    with torch.inference_mode():
        vectors = look_vectors(model.network, looks.timeline.sequences, looks.moments.events)
        seen = Seen.of(looks, vectors, model.network, model.vocabulary)
        return Foretold(*(part.cpu() for part in heads(*seen)))


class TaskPlan(NamedTuple):
    """What to teach beside the next item.

    `points[behaviour code]` weigh events in the shares of categories; no label looks past `last_day`, the day up to
    which the log was seen.
    """

    settings: TaskSettings
    points: Floats
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
        self._looks = Looks(timeline, timeline.looks(last_day, seed))
        self._labels = labels(timeline, self._looks.moments, last_day, settings.horizon_days, points)
        week_ends = self._looks.moments.days[:, None] + 7 * np.arange(1, CHURN_WEEKS + 1)
        self.churn_weeks = int(((week_ends <= last_day).sum(axis=0) >= LEAST_LOOKS).sum())
        self._pieces = chunks(learnable, length)
        self.shifts = shifts(learnable, last_day, settings, seed, length, held_out=False)
        self.priors = Priors.of(self._labels, len(vocabulary.categories), spliced=bool(self.shifts.shifted.any()))
        self._item_entropy = float(np.log(max(len(vocabulary.items), 2)))
        self.heads = Heads(network.shape.dimensions, len(vocabulary.categories))
        sample = self._looks.moments.take(self._random.permutation(len(self._looks.moments))[: 4 * LOOKS_PER_BLOCK])
        features = timeline.features(sample, length)
        self.heads.start_from(self.priors, features.mean(axis=0), features.std(axis=0))
        self._steps = settings.steps
        if start is not None and start.foretelling is not None and _continue(self.heads, start.foretelling.heads):
            self._steps = settings.warm_steps
        self.heads.to(network.device)

    @property
    def teach_encoder(self) -> bool:
        """Whether any task teaches the encoder; otherwise the heads only learn once it stands."""
        return bool(self._weights(attached_only=True))

    def loss(self, network: CausalEncoder) -> Tensor:
        """The weighted loss of the next batch of the tasks that teach the encoder, in the unit of the item's loss."""
        count = self.settings.batch_size
        weights = self._weights(attached_only=True)
        losses: dict[Task, Tensor] = {}
        if weights.keys() - {"shift"}:
            which, seen = self._read(network, self._looks, self._pieces, self._drawn(len(self._pieces.starts), count))
            losses |= label_losses(self.heads(*seen), self._labels.take(which))
        if "shift" in weights and len(self.shifts.pieces.starts):
            which, seen = self._read(network, *self._shift_chunks(count // CHUNKS_PER_SHIFT_PAIR))
            losses |= shift_loss(self.heads(*seen), self.shifts.shifted[which])
        variances = self.heads.log_variances if self.settings.weighting == "uncertainty" else None
        return self._item_entropy * combined(losses, self.priors, weights, variances)

    def finish(self, network: CausalEncoder) -> None:
        """Let the heads alone take the settings' steps, of all tasks, on what the standing encoder says.

        The encoder stops early, when the next item is foretold best; the heads would stop half-taught.
        """
        network.eval()
        with torch.no_grad():
            drawn = self._drawn(len(self._pieces.starts), FINISH_CHUNKS)
            which, seen = self._read(network, self._looks, self._pieces, drawn)
            if len(self.shifts.pieces.starts):
                shift_which, shift_seen = self._read(network, *self._shift_chunks(FINISH_CHUNKS))
        rate = self.settings.learning_rate
        optimiser = torch.optim.AdamW(self.heads.parameters(), rate, weight_decay=HEADS_DECAY, fused=True)
        self.heads.train()
        found = self._labels.take(which)
        weights = self._weights(attached_only=False)
        for _ in range(self._steps if len(which) else 0):
            rows = np.sort(self._drawn(len(which), LOOKS_PER_BLOCK))
            losses = label_losses(self.heads(*seen.take(torch.from_numpy(rows).to(network.device))), found.take(rows))
            if len(self.shifts.pieces.starts):
                rows = np.sort(self._drawn(len(shift_which), LOOKS_PER_BLOCK))
                foretold = self.heads(*shift_seen.take(torch.from_numpy(rows).to(network.device)))
                losses |= shift_loss(foretold, self.shifts.shifted[shift_which[rows]])
            loss = combined(losses, self.priors, weights, None)
            if not loss.requires_grad:
                continue  # of the tasks asked for, none has a label among these looks
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

    def _weights(self, *, attached_only: bool) -> dict[Task, float]:
        stopped = self.settings.stop_gradient if attached_only else ()
        return {task: weight for task, weight in self.settings.weights.items() if weight and task not in stopped}

    def _drawn(self, count: int, wanted: int) -> Integers:
        return self._random.permutation(count)[:wanted]

    def _shift_chunks(self, pairs: int) -> tuple[Looks, Chunks, Integers]:
        """Random pairs of the same history spliced and whole."""
        drawn = self._drawn(len(self.shifts.pieces.starts) // 2, max(pairs, 1))
        return self.shifts.looks, self.shifts.pieces, np.concatenate([2 * drawn, 2 * drawn + 1])

    def _read(self, network: CausalEncoder, looks: Looks, pieces: Chunks, drawn: Integers) -> tuple[Integers, Seen]:
        """The looks within the drawn chunks, and what the heads read of them."""
        which, vectors = _encoded(network, looks, Chunks(pieces.starts[drawn], pieces.lengths[drawn]))
        moments = Looks(looks.timeline, looks.moments.take(which))
        return which, Seen.of(moments, vectors, network, self.vocabulary)


class TaskQuality(NamedTuple):
    """Calibrated heads, and how good they are on days that they did not learn from."""

    foretelling: Foretelling
    metrics: dict[str, float]


def judged(
    model: InterestModel, tasks: TaskTraining, sequences: Sequences, start: int, last_day: int, *, seed: int
) -> TaskQuality:
    """The heads of `tasks` judged and calibrated on the days `start` to `last_day`, which they did not learn from.

    Users are looked at once, at the end of the day before; those held out from the splices judge the shift head.
    Metrics, as far as they could be measured: mean cross-entropy of the category shares, and what it is without
    looking at users; areas under the curve of a purchase, of no visit in the first week, and of a splice.
    """
    settings, heads, priors = tasks.settings, tasks.heads, tasks.priors
    timeline = Timeline(sequences)
    looks = timeline.last_looks(start - 1)
    looks = looks.take(np.arange(min(len(looks), VALIDATION_USERS)))
    found = labels(timeline, looks, last_day, settings.horizon_days, tasks.points)
    foretold = logits_at(model, heads, Looks(timeline, looks))
    metrics: dict[str, float | None] = {}
    if len(found.looks):
        metrics["category_cross_entropy"] = float(label_losses(foretold, found)["category"])
        without = -(np.log(priors.category)[found.categories - 1] * found.shares).sum() / len(np.unique(found.looks))
        metrics["category_cross_entropy_without_looking"] = float(without)
    known, first_week = found.purchase_known, found.at_risk[:, 0]
    churn = _numbers(foretold.churn)
    metrics["churn_auc"] = auc(-churn[first_week, 0], ~found.returned[first_week, 0])
    # A week of validation days says nothing of the weeks after it; looks four weeks before its end say it of all four.
    earlier = timeline.last_looks(last_day - 7 * CALIBRATED_WEEKS)
    earlier = earlier.take(np.arange(min(len(earlier), VALIDATION_USERS)))
    seen = labels(timeline, earlier, last_day, settings.horizon_days, tasks.points)
    churn_earlier = _numbers(logits_at(model, heads, Looks(timeline, earlier)).churn)
    held_out = shifts(sequences, last_day, settings, seed, model.network.shape.maximum_length, held_out=True)
    cases: dict[Task, tuple[Numbers, Flags]] = {
        "purchase": (_numbers(foretold.purchase)[known], found.purchase[known]),
        "churn": (
            np.concatenate([churn[found.at_risk], churn_earlier[seen.at_risk]]),
            np.concatenate([found.returned[found.at_risk], seen.returned[seen.at_risk]]),
        ),
        "shift": (_numbers(logits_at(model, heads, held_out.looks).shift), held_out.shifted),
    }
    learned = {task: case for task, case in cases.items() if priors.entropies[task]}
    metrics |= {f"{task}_auc": auc(*case) for task, case in learned.items() if task != "churn"}
    calibrations = {task: Calibration.of(*case) for task, case in learned.items()}
    return TaskQuality(
        Foretelling(heads.to("cpu").eval(), calibrations, settings.horizon_days, tasks.churn_weeks),
        {name: value for name, value in metrics.items() if value is not None},
    )


def shifts(
    sequences: Sequences, last_day: int, settings: TaskSettings, seed: int, maximum_length: int, *, held_out: bool
) -> Shifts:
    """Splices of the users held out from teaching, or of the others; looks at the first active days from the cut on."""
    fold = np.array([crc32(user.encode()) % HELD_OUT == 0 for user in sequences.users], dtype=bool)
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
    looks = timeline.looks(last_day, seed)
    owner = timeline.owners[looks.events]
    looks = looks.take((looks.events >= np.maximum(first, starts)[owner]) & (looks.events < ends[owner]))
    shifted, _ = shift_labels(timeline, made, looks, active_days)
    return Shifts(Looks(timeline, looks), shifted, Chunks(starts, ends - starts))


def _encoded(network: CausalEncoder, looks: Looks, pieces: Chunks) -> tuple[Integers, Tensor]:
    """The looks within `pieces`, and the vectors [look, dimension] of their newest events."""
    order = np.argsort(pieces.lengths, kind="stable")
    starts, lengths = pieces.starts[order], pieces.lengths[order]
    batch, _ = batch_of(looks.timeline.sequences, starts, lengths)
    events = looks.moments.events
    row, which = flat_ranges(np.searchsorted(events, starts), np.searchsorted(events, starts + lengths))
    token = events[which] - starts[row] + (np.cumsum(lengths) - lengths)[row]
    states = network(batch.to(network.device))
    return which, states.index_select(0, torch.from_numpy(token).to(network.device))


def _numbers(logits: Tensor) -> Numbers:
    return logits.numpy().astype(np.float64)


def _continue(heads: Heads, before: Heads) -> bool:
    """Copy the weights of `before` into `heads`, not what is counted anew; False where its size is another."""
    if before.dimensions != heads.dimensions:
        return False
    for own, old in zip(heads.parameters(), before.parameters(), strict=True):
        own.data.copy_(old.data)
    heads.mean.copy_(before.mean)
    heads.scale.copy_(before.scale)
    return True
