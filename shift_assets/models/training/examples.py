"""Examples of a training step.

Two objectives. `next_days`: a training point is the end of an active day after which the user comes back, because
recommendations are made once, at the end of a day, and are evaluated on other days. Its targets are the items of the
next `target_span` events with equal weights (PinnerFormer's dense all-action loss, Pancha et al. 2022, arXiv
2205.04507). `next_event`: every event has the item of the event after it as its target (SASRec, Kang & McAuley 2018,
arXiv 1808.09781).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.models.data.sequences import RETURN, Chunks, Sequences, flat_ranges, later_visit, past_items
from shift_assets.models.inference.scoring import batch_of
from shift_assets.models.network.batch import Batch
from shift_assets.models.training.distributed import Ranks
from shift_assets.models.training.losses import LogitBoosts, Negatives, Targets, chosen_loss
from shift_assets.models.training.parameters import ModelParameters


class Example(NamedTuple):
    """One training step.

    Attributes:
        batch: The chunks.
        points: Token [point] of the batch.
        events: Event [point] of the sequences.
        candidates: Item codes [candidate] that the loss runs over; None for all items from code 1 on.
        correction: Added to the candidates' logits [candidate]: the log-Q correction of sampling (Bengio & Senécal
            2008); None without sampling.
        drawn: Number of last candidates that are sampled negatives.
        taken: Items of the points' histories; its `amounts` [entry, feature] are the features that the copy
            mechanism weighs. None where the shape has no repeat consumption.
        targets: Items that follow the points.
    """

    batch: Batch
    points: Tensor
    events: Int64Array
    candidates: Tensor | None
    correction: Tensor | None
    drawn: int
    taken: LogitBoosts | None
    targets: Targets


@dataclass(frozen=True)
class Points:
    """All training points of sequences, in order of event.

    Point n is event `events[n]`; its targets are the events `starts[n]` to before `ends[n]`. `user_starts[n]` is the
    first event of the point's user.
    """

    sequences: Sequences
    user_starts: Int64Array
    events: Int64Array
    starts: Int64Array
    ends: Int64Array

    @classmethod
    def of(cls, sequences: Sequences, settings: ModelParameters) -> Points:
        """The points of `sequences` by the settings' objective; points whose targets are all returns are left out."""
        start, owner_end = later_visit(sequences)
        position = np.arange(len(start))
        if settings.objective == "next_event":
            events = np.flatnonzero(position + 1 < owner_end)
            starts, ends = events + 1, events + 2
        else:
            events = np.flatnonzero((position + 1 == start) & (start < owner_end))
            starts, ends = start[events], np.minimum(start[events] + settings.target_span, owner_end[events])
        wanted = np.concatenate(([0], np.cumsum(sequences.behaviors != RETURN)))
        useful = wanted[ends] > wanted[starts]
        user_starts = np.repeat(sequences.offsets[:-1], sequences.lengths)
        events = events[useful]
        return cls(sequences, user_starts[events], events, starts[useful], ends[useful])

    def pieces(self, maximum_length: int) -> Chunks:
        """Every user's events up to the user's last point, in chunks counted from there; only chunks with a point."""
        last = np.flatnonzero(np.diff(self.user_starts, append=-1))
        first, end = self.user_starts[last], self.events[last] + 1
        counts = -(-(end - first) // maximum_length)
        owner, position = flat_ranges(np.zeros_like(counts), counts)
        ends = end[owner] - position * maximum_length
        starts = np.maximum(ends - maximum_length, first[owner])
        held = np.searchsorted(self.events, ends) > np.searchsorted(self.events, starts)
        order = np.argsort(starts[held])
        return Chunks(starts[held][order], (ends - starts)[held][order])


class Examples:
    """An endless stream of training steps, epoch after epoch; `steps_per_epoch` steps read every chunk once."""

    def __init__(
        self,
        points: Points,
        item_count: int,
        settings: ModelParameters,
        *,
        repeats: bool,
        newest_first: bool,
        ranks: Ranks | None = None,
    ) -> None:
        """Divide the points into chunks.

        Args:
            points: The training points.
            item_count: Items of the vocabulary.
            settings: Batches, loss and augmentation.
            repeats: Whether the model boosts items of the user's history.
            newest_first: Use the newest chunks only, as many as `warm_steps` can hold, so that a short continued
                training does not miss recent events.
            ranks: The process group, of which each process reads its share of every step.

        Raises:
            ValueError: A step has fewer chunks than there are processes.
        """
        self.points, self.item_count, self.settings, self.repeats = points, item_count, settings, repeats
        self._ranks = ranks or Ranks()
        if self._ranks.count > settings.batch_size:
            raise ValueError(
                f"model.batch_size {settings.batch_size} is below the number of processes, {self._ranks.count}"
            )
        self._pieces = points.pieces(settings.maximum_length)
        self._chosen = np.arange(len(self._pieces.starts))
        if newest_first:
            last_day = points.sequences.days[self._pieces.starts + self._pieces.lengths - 1]
            newest = np.argsort(-last_day, kind="stable")
            self._chosen = np.sort(newest[: settings.batch_size * settings.warm_steps])
        self._negatives = None
        if chosen_loss(settings, item_count) in ("sampled", "gbce"):
            self._negatives = Negatives(np.bincount(points.sequences.items, minlength=item_count + 1), settings)
        self.steps_per_epoch = -(-len(self._chosen) // settings.batch_size)

    def steps(self, random: np.random.Generator) -> Iterator[Example]:
        """Draw steps."""
        while True:
            for together in np.array_split(random.permutation(self._chosen), self.steps_per_epoch):
                rows = self._ranks.shard(together)
                yield self._example(rows[np.argsort(self._pieces.lengths[rows], kind="stable")], random)

    def _example(self, rows: Int64Array, random: np.random.Generator) -> Example:
        """The step of the chunks `rows`, which are in order of length."""
        points, sequences = self.points, self.points.sequences
        starts, lengths = self._pieces.starts[rows], self._pieces.lengths[rows]
        if self.settings.cropped_share:
            starts, lengths = self._crop(starts, lengths, random)
        batch, events = batch_of(sequences, starts, lengths)
        if self.settings.hidden_share:
            seen = random.random(len(events)) >= self.settings.hidden_share
            batch = replace(batch, items=batch.items * torch.from_numpy(seen))
        chunk, chosen = flat_ranges(
            np.searchsorted(points.events, starts), np.searchsorted(points.events, starts + lengths)
        )
        token = points.events[chosen] - starts[chunk] + (np.cumsum(lengths) - lengths)[chunk]
        target_points, target_items, weights = self._targets(chosen)
        taken = None
        if self.repeats:
            taken = past_items(sequences, points.user_starts[chosen], points.events[chosen] + 1)
        taken_items = np.zeros(0, np.int64) if taken is None else taken.items
        candidates = self._candidates(target_items, taken_items, random)
        boosts = None
        if taken is not None:
            taken_at = torch.from_numpy(candidates.index_of(taken_items))
            boosts = LogitBoosts(torch.from_numpy(taken.histories), taken_at, torch.from_numpy(taken.features))
        target_at = torch.from_numpy(candidates.index_of(target_items))
        return Example(
            batch=batch,
            points=torch.from_numpy(token),
            events=events[token],
            candidates=candidates.codes,
            correction=candidates.correction,
            drawn=candidates.drawn,
            taken=boosts,
            targets=Targets(torch.from_numpy(target_points), target_at, torch.from_numpy(weights)),
        )

    def _crop(
        self, starts: Int64Array, lengths: Int64Array, random: np.random.Generator
    ) -> tuple[Int64Array, Int64Array]:
        """Starts and lengths of the chunks, some of them without a random number of their first events."""
        events = self.points.events
        cropped = random.random(len(starts)) < self.settings.cropped_share
        removed = np.where(cropped, random.integers(0, lengths), 0)
        # Every chunk keeps its last point.
        last_point = events[np.searchsorted(events, starts + lengths) - 1]
        removed = np.minimum(removed, last_point - starts)
        starts, lengths = starts + removed, lengths - removed
        order = np.argsort(lengths, kind="stable")
        return starts[order], lengths[order]

    def _candidates(
        self, target_items: Int64Array, taken_items: Int64Array, random: np.random.Generator
    ) -> _Candidates:
        """All items; or the step's own items, and sampled negatives."""
        if self._negatives is None:
            return _Candidates(None, None, None, 0)
        own = np.unique(np.concatenate([target_items, taken_items]))
        drawn, corrections = self._negatives.draw(own, random)
        return _Candidates(
            own,
            torch.from_numpy(np.concatenate([own, drawn])),
            torch.from_numpy(np.concatenate([np.zeros(len(own), np.float32), corrections])),
            len(drawn),
        )

    def _targets(self, chosen: Int64Array) -> tuple[Int64Array, Int64Array, Float32Array]:
        """Point, item code and share of the targets of the points `chosen`; a point's items have equal shares."""
        points, sequences = self.points, self.points.sequences
        if self.settings.objective == "next_event":
            return np.arange(len(chosen)), sequences.items[points.starts[chosen]], np.ones(len(chosen), np.float32)
        point, target = flat_ranges(points.starts[chosen], points.ends[chosen])
        mask = sequences.behaviors[target] != RETURN
        width = self.item_count + 1
        pairs = np.unique(point[mask] * width + sequences.items[target[mask]])
        owner = pairs // width
        counts = np.bincount(owner, minlength=len(chosen))
        return owner, pairs % width, (1 / counts[owner]).astype(np.float32)


class _Candidates(NamedTuple):
    """Item codes that the loss of a step runs over, first its `own` items; `own` and `codes` are None for all items."""

    own: Int64Array | None
    codes: Tensor | None
    correction: Tensor | None
    drawn: int

    def index_of(self, items: Int64Array) -> Int64Array:
        """Index [item] of the step's own items among the candidates."""
        return items - 1 if self.own is None else np.searchsorted(self.own, items)


def prefetch(steps: Iterator[Example], device: torch.device) -> Iterator[Example]:
    """Yield the same steps; for a GPU, prepare the next one in pinned memory in a thread while one is computed."""
    if device.type != "cuda":
        yield from steps
        return

    def prepare() -> Example | None:
        example = next(steps, None)
        return None if example is None else _pin_memory(example)

    with ThreadPoolExecutor(1) as worker:
        waiting = worker.submit(prepare)
        while (example := waiting.result()) is not None:
            waiting = worker.submit(prepare)
            yield example


def _pin_memory(example: Example) -> Example:
    def pinned(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.pin_memory()

    batch = example.batch
    runs = tuple(
        run._replace(padded_index=pinned(run.padded_index), unpadded_index=pinned(run.unpadded_index))
        for run in batch.runs
    )
    names = ("items", "categories", "behaviors", "gaps", "positions", "bounds")
    codes = {name: getattr(batch, name).pin_memory() for name in names}
    return example._replace(
        batch=replace(batch, runs=runs, **codes),
        points=example.points.pin_memory(),
        candidates=pinned(example.candidates),
        correction=pinned(example.correction),
        taken=None if example.taken is None else LogitBoosts(*(part.pin_memory() for part in example.taken)),
        targets=Targets(*(part.pin_memory() for part in example.targets)),
    )
