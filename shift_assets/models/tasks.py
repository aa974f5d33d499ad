"""Teaching the heads beside the next item: batches of looks and of spliced histories, and how good the heads are.

Each step of a training draws chunks of its own: the item's chunks end where a user's last later visit begins, and who
never comes back would be missing from the churn.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa
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
    binary_loss,
    combined,
    label_losses,
)
from shift_assets.models.labels import CHURN_WEEKS, labels, shift_labels, splices
from shift_assets.models.moments import Flags, Floats, Moments, Timeline
from shift_assets.models.ranking import auc
from shift_assets.models.scoring import InterestModel, batch_of
from shift_assets.models.sequences import Chunks, Integers, Sequences, Vocabulary, chunks, flat_ranges
from shift_assets.settings import TaskSettings

LOOKS_PER_BLOCK = 512
VALIDATION_USERS = 2_048
SPLICED_USERS = 512
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


def foretold_at(
    network: CausalEncoder, heads: Heads, looks: Looks, vectors: Tensor, detached: frozenset[Task] = frozenset()
) -> Foretold:
    """What the heads say of looks whose encoder vectors are `vectors` [look, dimension]."""
    timeline, moments = looks
    features = torch.from_numpy(timeline.features(moments, network.shape.maximum_length)).to(network.device)
    before = timeline.taken_categories(moments)
    known = before.items > 0
    taken = TakenCategories(
        *(
            torch.from_numpy(part[known]).to(network.device)
            for part in (before.histories, before.items - 1, before.features)
        )
    )
    return heads(vectors, features, taken, detached)  # type: ignore[no-any-return]


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


def logits_at(network: CausalEncoder, heads: Heads, timeline: Timeline, moments: Moments) -> Foretold:
    """What trained heads say of looks, on the CPU."""
    heads.eval()
    with torch.inference_mode():
        vectors = look_vectors(network, timeline.sequences, moments.events)
        return Foretold(*(part.cpu() for part in foretold_at(network, heads, Looks(timeline, moments), vectors)))


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
        self.settings, self.points = settings, points
        self._random = np.random.default_rng([seed, 2])
        length = network.shape.maximum_length
        timeline = Timeline(learnable)
        self._looks = Looks(timeline, timeline.looks(last_day, seed))
        self._labels = labels(timeline, self._looks.moments, last_day, settings.horizon_days, points)
        seen_days = last_day - int(self._looks.moments.days.min()) if len(self._looks.moments) else 0
        self.churn_weeks = min(seen_days // 7, CHURN_WEEKS)
        self._pieces = chunks(learnable, length)
        self.shifts = shifts(learnable, last_day, settings, seed, length, held_out=False)
        self.priors = Priors.of(self._labels, len(vocabulary.categories))
        self._item_entropy = float(np.log(max(len(vocabulary.items), 2)))
        self.heads = Heads(network.shape.dimensions, len(vocabulary.categories))
        sample = self._looks.moments.take(self._random.permutation(len(self._looks.moments))[: 4 * LOOKS_PER_BLOCK])
        features = timeline.features(sample, length)
        self.heads.start_from(self.priors, features.mean(axis=0), features.std(axis=0))
        if start is not None and start.foretelling is not None:
            _grow(self.heads, vocabulary, start.foretelling.heads, start.vocabulary)
        self.heads.to(network.device)

    def loss(self, network: CausalEncoder) -> Tensor:
        """The weighted loss of the next batch of looks and spliced histories, in the unit of the item's loss."""
        detached: frozenset[Task] = frozenset(self.settings.stop_gradient)
        drawn = self._random.permutation(len(self._pieces.starts))[: self.settings.batch_size]
        which, vectors = _encoded(network, self._looks, _some(self._pieces, drawn))
        looks = Looks(self._looks.timeline, self._looks.moments.take(which))
        foretold = foretold_at(network, self.heads, looks, vectors, detached)
        losses = label_losses(foretold, self._labels.take(which))
        if len(self.shifts.pieces.starts):
            pairs = len(self.shifts.pieces.starts) // 2
            drawn = self._random.permutation(pairs)[: max(1, self.settings.batch_size // CHUNKS_PER_SHIFT_PAIR)]
            pieces = _some(self.shifts.pieces, np.concatenate([2 * drawn, 2 * drawn + 1]))
            which, vectors = _encoded(network, self.shifts.looks, pieces)
            looks = Looks(self.shifts.looks.timeline, self.shifts.looks.moments.take(which))
            shifted = self.shifts.shifted[which]
            foretold = foretold_at(network, self.heads, looks, vectors, detached)
            if shifted.any() and not shifted.all():
                halves = [binary_loss(foretold.shift, shifted, counts) for counts in (shifted, ~shifted)]
                losses["shift"] = (halves[0] + halves[1]) / 2
        weights = self.settings.weights
        variances = self.heads.log_variances if self.settings.weighting == "uncertainty" else None
        return self._item_entropy * combined(losses, self.priors, weights, variances)


class TaskQuality(NamedTuple):
    """Calibrated heads, and how good they are on days that they did not learn from."""

    foretelling: Foretelling
    metrics: dict[str, float]


def judged(
    network: CausalEncoder, tasks: TaskTraining, sequences: Sequences, start: int, last_day: int, *, seed: int
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
    foretold = logits_at(network, heads, timeline, looks)
    metrics: dict[str, float | None] = {}
    if len(found.looks):
        metrics["category_cross_entropy"] = float(label_losses(foretold, found)["category"])
        without = -(np.log(priors.category)[found.categories - 1] * found.shares).sum() / len(np.unique(found.looks))
        metrics["category_cross_entropy_without_looking"] = float(without)
    cases: dict[Task, tuple[Numbers, Flags]] = {
        "purchase": (_numbers(foretold.purchase)[found.purchase_known], found.purchase[found.purchase_known]),
        "churn": (_numbers(foretold.churn)[found.at_risk], found.returned[found.at_risk]),
    }
    metrics["purchase_auc"] = auc(*cases["purchase"])
    first_week = found.at_risk[:, 0]
    metrics["churn_auc"] = auc(-_numbers(foretold.churn)[first_week, 0], ~found.returned[first_week, 0])
    held_out = shifts(sequences, last_day, settings, seed, network.shape.maximum_length, held_out=True)
    foretold = logits_at(network, heads, *held_out.looks)
    cases["shift"] = (_numbers(foretold.shift), held_out.shifted)
    metrics["shift_auc"] = auc(*cases["shift"])
    learned = {task: case for task, case in cases.items() if priors.entropies[task]}
    if not len(tasks.shifts.pieces.starts):
        del learned["shift"]
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


def _some(pieces: Chunks, which: Integers) -> Chunks:
    return Chunks(pieces.starts[which], pieces.lengths[which])


def _numbers(logits: Tensor) -> Numbers:
    return logits.numpy().astype(np.float64)


def _grow(heads: Heads, vocabulary: Vocabulary, before: Heads, old: Vocabulary) -> None:
    """Copy the weights of `before` into `heads`, rows of categories by name; nothing where its size is another."""
    if before.dimensions != heads.dimensions:
        return
    own = heads.state_dict()
    codes = torch.from_numpy(old.category_codes(pa.array(vocabulary.categories, pa.string())))
    known = codes > 0
    for name, tensor in before.state_dict().items():
        if name in ("category.weight", "category.bias"):
            own[name][known] = tensor[codes[known] - 1]
        else:
            own[name].copy_(tensor)
