"""What a training step reads, and what training is judged by.

A point to learn from is the end of a user's active day that has later ones: a list is made once, at the end of a
day, and what it is judged by lies on other days. A point foretells the items of the next `target_span` events, all
alike (PinnerFormer's dense all-action loss, Pancha et al. 2022, arXiv 2205.04507), not just the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shift_assets.models.encoder import Batch, Taken
from shift_assets.models.scoring import Floats, batch_of
from shift_assets.models.sequences import (
    RETURN,
    Chunks,
    Integers,
    Sequences,
    chunks,
    flat_ranges,
    later_visit,
    taken_before,
)
from shift_assets.settings import ModelSettings

VALIDATION_USERS = 512


class Example(NamedTuple):
    """One training step.

    Point n is position `positions[n]` of sequence `rows[n]`. `target_weights[entry]` is the share of candidate
    `target_candidates[entry]` in what point `target_points[entry]` foretells. `correction[candidate]` is added to
    the logits (log-Q, Bengio & Senécal 2008): a drawn item stands for all those that were not.
    """

    batch: Batch
    rows: Tensor
    positions: Tensor
    candidates: Tensor
    correction: Tensor
    taken: Taken
    target_points: Tensor
    target_candidates: Tensor
    target_weights: Tensor


@dataclass(frozen=True)
class Points:
    """Everything to learn from: `events[n]` ends a day and foretells the events `starts[n]` to `ends[n]`."""

    sequences: Sequences
    user_starts: Integers
    events: Integers
    starts: Integers
    ends: Integers

    @classmethod
    def of(cls, sequences: Sequences, span: int) -> Points:
        start, owner_end = later_visit(sequences)
        events = np.flatnonzero((np.arange(len(start)) + 1 == start) & (start < owner_end))
        user_starts = np.repeat(sequences.offsets[:-1], sequences.lengths)
        wanted = np.concatenate(([0], np.cumsum(sequences.behaviors != RETURN)))
        ends = np.minimum(start[events] + span, owner_end[events])
        useful = wanted[ends] > wanted[start[events]]
        events = events[useful]
        return cls(sequences, user_starts[events], events, start[events], ends[useful])

    def within(self, pieces: Chunks) -> Integers:
        """Points [chunk] that lie in each chunk."""
        return np.searchsorted(self.events, pieces.starts + pieces.lengths) - np.searchsorted(
            self.events, pieces.starts
        )


def examples(
    points: Points, item_count: int, settings: ModelSettings, random: np.random.Generator, *, newest_first: bool
) -> Iterator[Example]:
    """Steps without end, epoch after epoch, each of chunks of like length.

    `newest_first`: only the chunks seen last, as many as `warm_steps` can hold, so that a short continued training
    does not miss what is new.
    """
    cut = chunks(points.sequences, settings.maximum_length)
    by_start = np.argsort(cut.starts)
    pieces = Chunks(cut.starts[by_start], cut.lengths[by_start])
    usable = np.flatnonzero(points.within(pieces))
    last_day = points.sequences.days[pieces.starts + pieces.lengths - 1]
    while True:
        order = random.permutation(usable)
        if newest_first:
            order = order[np.argsort(-last_day[order], kind="stable")][: settings.batch_size * settings.warm_steps]
        order = order[np.argsort(pieces.lengths[order], kind="stable")]
        groups = np.array_split(order, -(-len(order) // settings.batch_size))
        for group in random.permutation(len(groups)):
            yield _example(points, pieces, groups[group], item_count=item_count, settings=settings, random=random)


def _example(
    points: Points,
    pieces: Chunks,
    rows: Integers,
    *,
    item_count: int,
    settings: ModelSettings,
    random: np.random.Generator,
) -> Example:
    sequences = points.sequences
    batch, _ = batch_of(sequences, pieces, rows)
    first = np.searchsorted(points.events, pieces.starts[rows])
    last = np.searchsorted(points.events, pieces.starts[rows] + pieces.lengths[rows])
    row, chosen = flat_ranges(first, last)
    point, target = flat_ranges(points.starts[chosen], points.ends[chosen])
    kept = sequences.behaviors[target] != RETURN
    width = item_count + 1
    pairs = np.unique(point[kept] * width + sequences.items[target[kept]])
    target_points, target_items = pairs // width, pairs % width
    taken = taken_before(sequences, points.user_starts[chosen], points.events[chosen] + 1)
    if item_count <= settings.full_softmax_items:
        candidates, correction = np.arange(1, width), np.zeros(item_count, np.float32)
    else:
        candidates, correction = _sampled(np.union1d(target_items, taken.items), item_count, settings.negatives, random)
    place = np.zeros(width, dtype=np.int64)
    place[candidates] = np.arange(len(candidates))
    counts = np.bincount(target_points, minlength=len(chosen))
    return Example(
        batch,
        torch.from_numpy(row),
        torch.from_numpy(points.events[chosen] - pieces.starts[rows][row]),
        torch.from_numpy(candidates),
        torch.from_numpy(correction),
        Taken(
            torch.from_numpy(taken.histories), torch.from_numpy(place[taken.items]), torch.from_numpy(taken.features)
        ),
        torch.from_numpy(target_points),
        torch.from_numpy(place[target_items]),
        torch.from_numpy((1 / counts[target_points]).astype(np.float32)),
    )


def _sampled(own: Integers, item_count: int, negatives: int, random: np.random.Generator) -> tuple[Integers, Floats]:
    """The step's own items and `negatives` others, shared by all its points, with the log-Q correction of each."""
    drawn = np.setdiff1d(random.integers(1, item_count + 1, negatives), own)
    correction = np.zeros(len(own) + len(drawn), np.float32)
    if len(drawn):
        correction[len(own) :] = np.log(max((item_count - len(own)) / len(drawn), 1.0))
    return np.concatenate([own, drawn]), correction


@dataclass(frozen=True)
class Validation:
    """Histories before the validation days; user `owners[i]` of them took item code `items[i]` on those days."""

    histories: Sequences
    owners: Integers
    items: Integers

    @classmethod
    def of(cls, sequences: Sequences, start: int) -> Validation:
        """Users with events both before day `start` and from it on.

        At most VALIDATION_USERS, the first by pseudonym: a digest, so a random sample and the same every day.
        """
        histories = sequences.until(start)
        owner = np.repeat(np.arange(len(sequences.users)), sequences.lengths)
        target = (sequences.days >= start) & (sequences.behaviors != RETURN) & (histories.lengths[owner] > 0)
        judged = np.unique(owner[target])[:VALIDATION_USERS]
        target &= np.isin(owner, judged)
        pairs = np.unique(np.stack([np.searchsorted(judged, owner[target]), sequences.items[target]]), axis=1)
        return cls(histories.of_users(judged), pairs[0], pairs[1])
