"""Shape of the encoder, and its blocks by architecture: transformer, recurrent, averaging."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from shift_assets.models.network.batch import Batch

Architecture = Literal["transformer", "gru", "lstm", "autoencoder"]


class Shape(NamedTuple):
    """Sizes and options that determine an encoder's weights."""

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


def causal_attention(projected: Tensor, batch: Batch, heads: int) -> Tensor:
    """Attention of every token to itself and to the tokens before it in its chunk.

    Args:
        projected: Queries, keys and values [token, 3 · width].
        batch: The chunks.
        heads: Attention heads; they divide the width.

    Returns:
        Mixed values [token, width].
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
        if run.padded_index is not None:
            part = part.index_select(0, run.padded_index)
        query, key, value = part.view(run.rows, run.length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(run.rows * run.length, width)
        pieces.append(mixed if run.unpadded_index is None else mixed.index_select(0, run.unpadded_index))
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


class _TransformerBlock(nn.Module):
    """Pre-norm attention and a feed-forward layer of twice the width, each added to its input."""

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
        # A block starts as the identity: at first the encoder ranks by similarity to the newest item.
        for last in (self.attention_out, self.narrow):
            nn.init.zeros_(last.weight)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        mixed = causal_attention(self.query_key_value(self.attention_norm(states)), batch, self.heads)
        states = states + self.dropout(self.attention_out(mixed))
        widened = functional.gelu(self.widen(self.forward_norm(states)))
        mixed_in: Tensor = states + self.dropout(self.narrow(widened))
        return mixed_in


class _RecurrentBlock(nn.Module):
    """A pre-norm recurrent layer over every chunk, added to its input (GRU4Rec, Hidasi et al. 2016, 1511.06939)."""

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
        # Torch packs sequences by position, with chunks from the longest to the shortest.
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


class _AveragingBlock(nn.Module):
    """The mean of a chunk's events so far through a hidden layer, with random events dropped in training.

    A denoising autoencoder of histories (Mult-DAE, Liang et al. 2018, arXiv 1802.05814) whose item weights are the
    item table; the order of events enters through the position embeddings only.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.dimensions
        self.event_dropout = shape.dropout
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        mask = torch.ones(len(states), 1, device=states.device)
        if self.training and self.event_dropout:
            mask = (torch.rand_like(mask) >= self.event_dropout).to(mask.dtype)
        sums = torch.cat([states * mask, mask], dim=1).double().cumsum(0)
        first = torch.arange(len(states), device=states.device) - batch.positions
        before = torch.cat([sums.new_zeros(1, sums.shape[1]), sums])[first]
        held = (sums - before).to(states.dtype)
        mean = held[:, :-1] / held[:, -1:].clamp(min=1)
        widened = torch.tanh(self.widen(self.norm(mean)))
        averaged: Tensor = mean + self.narrow(widened)
        return averaged


BLOCKS: dict[Architecture, type[nn.Module]] = {
    "transformer": _TransformerBlock,
    "gru": _RecurrentBlock,
    "lstm": _RecurrentBlock,
    "autoencoder": _AveragingBlock,
}
