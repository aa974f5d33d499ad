"""Batches of chunks packed without padding, and the runs of chunks that attention works on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shift_assets.arrays import Int64Array

RUN_COST = 100.0
"""Cost of one more run of attention, in attended tokens (measured on a CPU, forward and backward)."""
QUADRATIC_LENGTH = 60.0
"""Chunk length at which the quadratic part of attention costs as much as the linear part."""


class Run(NamedTuple):
    """Chunks attended together: tokens `first` to before `last`, as `rows` rows of `length` positions.

    `padded_index[row · length + position]` is the token of a position, counted from `first`, and
    `unpadded_index[token]` the position of a token; both are None where all chunks have the same length.
    """

    first: int
    last: int
    rows: int
    length: int
    padded_index: Tensor | None
    unpadded_index: Tensor | None


@dataclass(frozen=True)
class Batch:
    """Codes [token] of chunks packed one after the other.

    Attributes:
        items: Item codes.
        categories: Category codes.
        behaviors: Behaviour codes.
        gaps: Buckets of the time since the event before.
        positions: Positions within the chunk.
        bounds: First token [chunk + 1] of every chunk, and the number of tokens.
        longest: Length of the longest chunk.
        runs: Chunks that attention works on together.
    """

    items: Tensor
    categories: Tensor
    behaviors: Tensor
    gaps: Tensor
    positions: Tensor
    bounds: Tensor
    longest: int
    runs: tuple[Run, ...]

    @classmethod
    def of(
        cls, items: Int64Array, categories: Int64Array, behaviors: Int64Array, gaps: Int64Array, lengths: Int64Array
    ) -> Batch:
        """The batch of chunks of `lengths` tokens, each at least 1; cheapest if chunks are in order of length."""
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        positions = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
        return cls(
            items=torch.from_numpy(items),
            categories=torch.from_numpy(categories),
            behaviors=torch.from_numpy(behaviors),
            gaps=torch.from_numpy(gaps),
            positions=torch.from_numpy(positions),
            bounds=torch.from_numpy(bounds.astype(np.int32)),
            longest=int(lengths.max(initial=0)),
            runs=attention_runs(lengths),
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        if self.items.device == device:
            return self
        runs = tuple(
            run._replace(
                padded_index=_moved(run.padded_index, device), unpadded_index=_moved(run.unpadded_index, device)
            )
            for run in self.runs
        )
        names = ("items", "categories", "behaviors", "gaps", "positions", "bounds")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in names}
        return replace(self, runs=runs, **moved)


def attention_runs(lengths: Int64Array) -> tuple[Run, ...]:
    """The cheapest division of chunks, in the order given, into runs: few runs with little padding.

    Dynamic programming over groups of neighbouring chunks of equal length.
    """
    if not len(lengths):
        return ()
    first_of_group = np.flatnonzero(np.diff(lengths, prepend=-1))
    group_lengths = lengths[first_of_group]
    before = np.append(first_of_group, len(lengths))
    groups = len(group_lengths)
    cost, came_from = np.zeros(groups + 1), np.zeros(groups + 1, dtype=np.int64)
    for end in range(1, groups + 1):
        longest = np.maximum.accumulate(group_lengths[:end][::-1])[::-1]
        padded = (before[end] - before[:end]) * longest
        total = cost[:end] + RUN_COST + padded * (1 + longest / QUADRATIC_LENGTH)
        came_from[end] = np.argmin(total)
        cost[end] = total[came_from[end]]
    bounds_from_end = [groups]
    while bounds_from_end[-1]:
        bounds_from_end.append(int(came_from[bounds_from_end[-1]]))
    chunk_bounds = before[bounds_from_end[::-1]]
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    return tuple(_run(lengths[start:end], int(bounds[start])) for start, end in pairwise(chunk_bounds))


def _run(lengths: Int64Array, first: int) -> Run:
    rows, longest, tokens = len(lengths), int(lengths.max()), int(lengths.sum())
    if tokens == rows * longest:
        return Run(first, first + tokens, rows, longest, None, None)
    starts = np.cumsum(lengths) - lengths
    position = np.arange(longest)
    # Padding repeats the chunk's last token on the right, where the causal mask hides it.
    padded_index = starts[:, None] + np.minimum(position, lengths[:, None] - 1)
    unpadded_index = np.flatnonzero(position < lengths[:, None])
    return Run(
        first, first + tokens, rows, longest, torch.from_numpy(padded_index.ravel()), torch.from_numpy(unpadded_index)
    )


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device, non_blocking=True)
