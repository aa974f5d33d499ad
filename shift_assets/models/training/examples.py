"""What a training step reads, and what training is judged by.

Two objectives. `next_days`: a point to learn from is the end of a user's active day that has later ones: a list is
made once, at the end of a day, and what it is judged by lies on other days. A point foretells the items of the next
`target_span` events, all alike (PinnerFormer's dense all-action loss, Pancha et al. 2022, arXiv 2205.04507).
`next_event`: every event foretells the item of the event after it (SASRec, Kang & McAuley 2018, arXiv 1808.09781).
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
from shift_assets.settings.root import ModelSettings


class Example(NamedTuple):
    """One training step.

    Point n is token `points[n]` of the batch and event `events[n]` of the sequences. `candidates` are the item codes
    that the loss runs over, None for all from code 1; `correction[candidate]` is added to their logits (log-Q,
    Bengio & Senécal 2008): a drawn item stands for those that were not. The last `drawn` candidates are negatives of
    no point. `taken.amounts` [entry, feature] are the
    features that the repeat gates weigh, None where the shape has no repeats.
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
    """Everything to learn from: `events[n]` is a point that foretells the events `starts[n]` to `ends[n]`.

    `user_starts[n]` is the first event of the point's user. Points are in the order of events.
    """

    sequences: Sequences
    user_starts: Int64Array
    events: Int64Array
    starts: Int64Array
    ends: Int64Array

    @classmethod
    def of(cls, sequences: Sequences, settings: ModelSettings) -> Points:
        """The points of `sequences` under the settings' objective; what foretells only returns is none."""
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
        """Every user's events up to its last point, cut from there into chunks; those that hold a point."""
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
    """Steps without end, epoch after epoch; `steps_per_epoch` of them read every chunk once.

    `newest_first`: only the chunks seen last, as many as `warm_steps` can hold, so that a short continued training
    does not miss what is new. `ranks`: of each step only this process's share. Raises ValueError where a step has
    fewer chunks than there are processes.
    """

    def __init__(
        self,
        points: Points,
        item_count: int,
        settings: ModelSettings,
        *,
        repeats: bool,
        newest_first: bool,
        ranks: Ranks | None = None,
    ) -> None:
        self.points, self.item_count, self.settings, self.repeats = points, item_count, settings, repeats
        self._ranks = ranks or Ranks()
        if self._ranks.count > settings.batch_size:
            raise ValueError(
                f"batch_size {settings.batch_size} leaves nothing to some of {self._ranks.count} processes"
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
        """The steps that `random` draws."""
        while True:
            for together in np.array_split(random.permutation(self._chosen), self.steps_per_epoch):
                rows = self._ranks.shard(together)
                yield self._example(rows[np.argsort(self._pieces.lengths[rows], kind="stable")], random)

    def _example(self, rows: Int64Array, random: np.random.Generator) -> Example:
        points, sequences = self.points, self.points.sequences
        starts, lengths = self._pieces.starts[rows], self._pieces.lengths[rows]
        if self.settings.cropped_share:
            cropped = random.random(len(rows)) < self.settings.cropped_share
            lost = np.where(cropped, random.integers(0, lengths), 0)
            # A chunk's last point lies somewhere in it: what is lost ends before that point.
            last_point = points.events[np.searchsorted(points.events, starts + lengths) - 1]
            lost = np.minimum(lost, last_point - starts)
            starts, lengths = starts + lost, lengths - lost
            order = np.argsort(lengths, kind="stable")
            starts, lengths = starts[order], lengths[order]
        batch, events = batch_of(sequences, starts, lengths)
        if self.settings.hidden_share:
            seen = random.random(len(events)) >= self.settings.hidden_share
            batch = replace(batch, items=batch.items * torch.from_numpy(seen))
        chunk, chosen = flat_ranges(
            np.searchsorted(points.events, starts), np.searchsorted(points.events, starts + lengths)
        )
        token = points.events[chosen] - starts[chunk] + (np.cumsum(lengths) - lengths)[chunk]
        target_points, target_items, weights = self._targets(chosen)
        history, taken_items = np.zeros(0, np.int64), np.zeros(0, np.int64)
        features = None
        if self.repeats:
            taken = past_items(sequences, points.user_starts[chosen], points.events[chosen] + 1)
            history, taken_items, features = taken.histories, taken.items, torch.from_numpy(taken.features)
        candidates = correction = None
        drawn = np.zeros(0, np.int64)
        if self._negatives is None:
            target_candidates, taken_candidates = target_items - 1, taken_items - 1
        else:
            own = np.unique(np.concatenate([target_items, taken_items]))
            target_candidates, taken_candidates = np.searchsorted(own, target_items), np.searchsorted(own, taken_items)
            drawn, corrections = self._negatives.draw(own, random)
            candidates = torch.from_numpy(np.concatenate([own, drawn]))
            correction = torch.from_numpy(np.concatenate([np.zeros(len(own), np.float32), corrections]))
        return Example(
            batch,
            torch.from_numpy(token),
            events[token],
            candidates,
            correction,
            len(drawn),
            None
            if features is None
            else LogitBoosts(torch.from_numpy(history), torch.from_numpy(taken_candidates), features),
            Targets(torch.from_numpy(target_points), torch.from_numpy(target_candidates), torch.from_numpy(weights)),
        )

    def _targets(self, chosen: Int64Array) -> tuple[Int64Array, Int64Array, Float32Array]:
        """Point, item code and share of what the points `chosen` foretell: each of its items alike."""
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


def prefetch(steps: Iterator[Example], device: torch.device) -> Iterator[Example]:
    """The same steps; for a GPU each is made in a thread, and its memory pinned, while the one before is computed."""
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
