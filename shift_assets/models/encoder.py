"""A compact causal encoder of users' events, and the item table that its vectors are compared with.

Pre-norm blocks (Xiong et al. 2020, arXiv 2002.04745) over the sum of item, category, behaviour, time-gap and
position embeddings; the item embedding is also the output (SASRec, Kang & McAuley 2018, arXiv 1808.09781). Other
architectures put recurrent layers, or a mean, in the place of the transformer's blocks.

Sequences are packed: a batch is one row of tokens without padding. Everything but attention works token by token;
attention works on runs of neighbouring chunks of like length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from shift_assets.contracts import BEHAVIORS
from shift_assets.models.sequences import GAP_BUCKETS, TAKEN_FEATURES, Integers

RUN_COST = 100.0
"""What one more run of attention costs, in tokens attended (measured on a CPU, forward and backward)."""
QUADRATIC_LENGTH = 60.0
"""Length at which the part of attention that grows with the square costs as much as the linear part."""
Architecture = Literal["transformer", "gru", "lstm", "autoencoder"]

CONTEXT_START = 0.1
"""Length of category, behaviour, gap and position vectors at the start, beside an item's vector of 1."""


class Shape(NamedTuple):
    """What the weights of an encoder look like."""

    items: int
    categories: int
    dimensions: int
    layers: int
    heads: int
    dropout: float
    maximum_length: int
    repeats: bool = True
    attributes: int = 0
    attribute_entries: int = 0
    content: int = 0
    item_dropout: float = 0.0
    architecture: Architecture = "transformer"


@dataclass(frozen=True)
class ItemAttributes:
    """What is known of items beside their name, in the order of a vocabulary's items.

    Item i has the attributes `codes[offsets[i]]` to `codes[offsets[i + 1]]`, each below `count`, and the dense vector
    `content[i]` (of a text, say; of no columns where there is none).
    """

    offsets: Integers
    codes: Integers
    count: int
    content: npt.NDArray[np.float32]

    @classmethod
    def of_codes(cls, offsets: Integers, codes: Integers) -> ItemAttributes:
        """Attributes alone, without dense vectors."""
        count = int(codes.max(initial=-1)) + 1
        return cls(offsets, codes, count, np.zeros((len(offsets) - 1, 0), dtype=np.float32))


class Run(NamedTuple):
    """Chunks attended together, tokens `first` to `last`, as `rows` rows of `length` places.

    `spread[row · length + place]` is the run's token of a place, and `gathered[token]` the place of a token; both
    None where all chunks are of the same length, so that no place is padding.
    """

    first: int
    last: int
    rows: int
    length: int
    spread: Tensor | None
    gathered: Tensor | None


@dataclass(frozen=True)
class Batch:
    """Codes [token] of chunks that stand one after the other, and where attention runs.

    `bounds` [chunk + 1] are the chunks' first tokens and the count of all, `longest` the length of the longest.
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
    def of(cls, items: Integers, categories: Integers, behaviors: Integers, gaps: Integers, lengths: Integers) -> Batch:
        """The batch of chunks of `lengths` tokens (each at least 1); chunks of like length best stand together."""
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
        """The same on `device`."""
        if self.items.device == device:
            return self
        runs = tuple(
            run._replace(spread=_moved(run.spread, device), gathered=_moved(run.gathered, device)) for run in self.runs
        )
        names = ("items", "categories", "behaviors", "gaps", "positions", "bounds")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in names}
        return replace(self, runs=runs, **moved)


def attention_runs(lengths: Integers) -> tuple[Run, ...]:
    """The cheapest division of chunks, in the order given, into runs: few runs, yet little padding within them."""
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
    cuts = [groups]
    while cuts[-1]:
        cuts.append(int(came_from[cuts[-1]]))
    chunk_cuts = before[cuts[::-1]]
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    return tuple(_run(lengths[start:end], int(bounds[start])) for start, end in pairwise(chunk_cuts))


def _run(lengths: Integers, first: int) -> Run:
    rows, longest, tokens = len(lengths), int(lengths.max()), int(lengths.sum())
    if tokens == rows * longest:
        return Run(first, first + tokens, rows, longest, None, None)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(longest)
    # A padded place repeats its chunk's last token: it stands on the right, where the causal mask hides it.
    spread = starts[:, None] + np.minimum(place, lengths[:, None] - 1)
    gathered = np.flatnonzero(place < lengths[:, None])
    return Run(first, first + tokens, rows, longest, torch.from_numpy(spread.ravel()), torch.from_numpy(gathered))


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device, non_blocking=True)


def causal_attention(projected: Tensor, batch: Batch, heads: int) -> Tensor:
    """Attention of every token to itself and the tokens before it in its chunk.

    `projected` [token, 3 · width] holds queries, keys and values; the outcome is [token, width].
    """
    width = projected.shape[1] // 3
    if projected.is_cuda and projected.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        query, key, value = projected.view(-1, 3, heads, width // heads).unbind(1)
        bounds, longest = batch.bounds, batch.longest
        mixed = varlen_attn(query, key, value, bounds, bounds, longest, longest, window_size=(-1, 0))
        return cast(Tensor, mixed).reshape(-1, width)
    pieces = []
    for run in batch.runs:
        part = projected[run.first : run.last]
        if run.spread is not None:
            part = part.index_select(0, run.spread)
        query, key, value = part.view(run.rows, run.length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(run.rows * run.length, width)
        pieces.append(mixed if run.gathered is None else mixed.index_select(0, run.gathered))
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


class _Block(nn.Module):
    """Attention, then a feed-forward of twice the width, each added to its normalised input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.dimensions
        self.heads = shape.heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.forward_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(shape.dropout)
        # A block starts as nothing: the encoder's first answer is what is near its newest item.
        for last in (self.attention_out, self.narrow):
            nn.init.zeros_(last.weight)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        mixed = causal_attention(self.query_key_value(self.attention_norm(states)), batch, self.heads)
        states = states + self.dropout(self.attention_out(mixed))
        widened = functional.gelu(self.widen(self.forward_norm(states)))
        mixed_in: Tensor = states + self.dropout(self.narrow(widened))
        return mixed_in


class _Recurrence(nn.Module):
    """A recurrent layer over every chunk, added to its normalised input (GRU4Rec, Hidasi et al. 2016, 1511.06939)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.dimensions
        self.norm = nn.LayerNorm(width)
        self.cells = (nn.GRU if shape.architecture == "gru" else nn.LSTM)(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(shape.dropout)
        nn.init.zeros_(self.out.weight)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        lengths = batch.bounds.diff()
        # A packed sequence of torch is in the order of positions, its chunks from the longest to the shortest.
        rank = torch.empty_like(lengths)
        rank[torch.argsort(lengths, descending=True, stable=True)] = torch.arange(
            len(lengths), dtype=rank.dtype, device=rank.device
        )
        order = torch.argsort(batch.positions * len(lengths) + torch.repeat_interleave(rank, lengths))
        alive = torch.bincount(batch.positions).cpu()
        read, _ = self.cells(nn.utils.rnn.PackedSequence(self.norm(states)[order], alive))
        mixed = torch.empty_like(read.data).index_copy(0, order, read.data)
        added: Tensor = states + self.dropout(self.out(mixed))
        return added


class _Average(nn.Module):
    """The mean of a chunk's events so far through a hidden layer, some events left out in training.

    A denoising autoencoder of histories (Mult-DAE, Liang et al. 2018, arXiv 1802.05814) whose item weights are the
    item table: blind to order but for the positions.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.dimensions
        self.share_left_out = shape.dropout
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        kept = torch.ones(len(states), 1, device=states.device)
        if self.training and self.share_left_out:
            kept = (torch.rand_like(kept) >= self.share_left_out).to(kept.dtype)
        sums = torch.cat([states * kept, kept], dim=1).double().cumsum(0)
        first = torch.arange(len(states), device=states.device) - batch.positions
        before = torch.cat([sums.new_zeros(1, sums.shape[1]), sums])[first]
        held = (sums - before).to(states.dtype)
        mean = held[:, :-1] / held[:, -1:].clamp(min=1)
        widened = torch.tanh(self.widen(self.norm(mean)))
        averaged: Tensor = mean + self.narrow(widened)
        return averaged


BLOCKS: dict[Architecture, type[nn.Module]] = {
    "transformer": _Block,
    "gru": _Recurrence,
    "lstm": _Recurrence,
    "autoencoder": _Average,
}


class CausalEncoder(nn.Module):
    """Events of users to one vector per event; the vector times an item's row of the item table is its logit.

    `repeat_gates` says from a vector how far items that its user took before are raised: the repeat and explore
    modes of RepeatNet (Ren et al. 2019, arXiv 1812.02646) in one softmax. An embedding of this size cannot remember
    which items a long history held. A shape without `repeats` leaves them unused.
    """

    attribute_offsets: Tensor
    attribute_codes: Tensor
    content_vectors: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.dimensions
        self.shape = shape
        self.item = nn.Embedding(shape.items + 1, width)
        self.category = nn.Embedding(shape.categories + 1, width)
        self.behavior = nn.Embedding(len(BEHAVIORS) + 1, width)
        self.gap = nn.Embedding(GAP_BUCKETS, width)
        self.position = nn.Embedding(shape.maximum_length, width)
        self.repeat_gates = nn.Linear(width, TAKEN_FEATURES)
        if shape.attributes:
            self.attribute = nn.Embedding(shape.attributes, width)
            nn.init.zeros_(self.attribute.weight)
            self.register_buffer("attribute_offsets", torch.zeros(shape.items + 2, dtype=torch.int64))
            self.register_buffer("attribute_codes", torch.zeros(shape.attribute_entries, dtype=torch.int64))
        if shape.content:
            self.content = nn.Linear(shape.content, width, bias=False)
            nn.init.zeros_(self.content.weight)
            self.register_buffer("content_vectors", torch.zeros(shape.items + 1, shape.content))
        self.item_bias = nn.Parameter(torch.zeros(shape.items + 1))
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(BLOCKS[shape.architecture](shape) for _ in range(shape.layers))
        self.out_norm = nn.LayerNorm(width)
        nn.init.normal_(self.item.weight, std=1 / math.sqrt(width))
        for table in (self.category, self.behavior, self.gap, self.position):
            nn.init.normal_(table.weight, std=CONTEXT_START / math.sqrt(width))
        nn.init.ones_(self.repeat_gates.bias)
        nn.init.zeros_(self.repeat_gates.weight)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.item_bias.device

    def describe(self, attributes: ItemAttributes) -> None:
        """Take in the items' attributes, whose sizes are those of the shape; items without any stand by name alone."""
        with torch.no_grad():
            if self.shape.attributes:
                self.attribute_offsets[1:] = torch.from_numpy(attributes.offsets)
                self.attribute_codes.copy_(torch.from_numpy(attributes.codes))
            if self.shape.content:
                self.content_vectors[1:] = torch.from_numpy(attributes.content)

    def item_rows(self, codes: Tensor | None = None) -> Tensor:
        """Rows [code, dimension] of the item table: of the given item codes, or of all from code 0.

        A row is the item's own vector plus the mean vector of its attributes plus what its content tells. In training
        own vectors are left out at random, so that the rest learns to stand for an item that nobody took yet
        (DropoutNet, Volkovs et al. 2017).
        """
        rows: Tensor = self.item.weight if codes is None else self.item(codes)
        if self.training and self.shape.item_dropout:
            kept = torch.rand(len(rows), 1, device=rows.device) >= self.shape.item_dropout
            rows = rows * kept
        if self.shape.attributes:
            rows = rows + self._attribute_means(codes)
        if self.shape.content:
            rows = rows + self.content(self.content_vectors if codes is None else self.content_vectors[codes])
        return rows

    def _attribute_means(self, codes: Tensor | None) -> Tensor:
        offsets, entries = self.attribute_offsets[:-1], self.attribute_codes
        if codes is not None:
            starts, counts = offsets[codes], (self.attribute_offsets[1:] - offsets)[codes]
            offsets = counts.cumsum(0) - counts
            entries = entries[
                torch.arange(int(counts.sum()), device=codes.device) + torch.repeat_interleave(starts - offsets, counts)
            ]
        return functional.embedding_bag(entries, self.attribute.weight, offsets, mode="mean")

    def forward(self, batch: Batch) -> Tensor:
        """Vectors [token, dimension], each seeing its event and those before it in its chunk."""
        states = (
            self.item_rows(batch.items)
            + self.category(batch.categories)
            + self.behavior(batch.behaviors)
            + self.gap(batch.gaps)
            + self.position(batch.positions)
        )
        states = self.dropout(states)
        for block in self.blocks:
            states = block(states, batch)
        normalised: Tensor = self.out_norm(states)
        return normalised
