"""A compact causal transformer over a user's events, and its logits.

Pre-norm blocks (Xiong et al. 2020, arXiv 2002.04745) over the sum of item, category, behaviour, time-gap and
position embeddings; the item embedding is also the output (SASRec, Kang & McAuley 2018, arXiv 1808.09781).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from shift_assets.contracts import BEHAVIORS
from shift_assets.models.sequences import GAP_BUCKETS, TAKEN_FEATURES


class Shape(NamedTuple):
    """What the weights of an encoder look like."""

    items: int
    categories: int
    dimensions: int
    layers: int
    heads: int
    dropout: float
    maximum_length: int


class Batch(NamedTuple):
    """Codes of padded sequences, all [sequence, position], padded with 0 on the right."""

    items: Tensor
    categories: Tensor
    behaviors: Tensor
    gaps: Tensor


class Taken(NamedTuple):
    """Candidates that stand in the histories of vectors, one entry per pair; features as in `TakenBefore`."""

    vectors: Tensor
    candidates: Tensor
    features: Tensor


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

    def forward(self, states: Tensor) -> Tensor:
        count, length, width = states.shape
        projected = self.query_key_value(self.attention_norm(states))
        query, key, value = projected.view(count, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        # Padding stands on the right, so the causal mask alone keeps it from every real position.
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.dropout(self.attention_out(mixed.transpose(1, 2).reshape(count, length, width)))
        widened = functional.gelu(self.widen(self.forward_norm(states)))
        mixed_in: Tensor = states + self.dropout(self.narrow(widened))
        return mixed_in


class CausalEncoder(nn.Module):
    """Events of a user to one vector per position; the vector times an item's embedding is the item's logit."""

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
        self.item_bias = nn.Parameter(torch.zeros(shape.items + 1))
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.out_norm = nn.LayerNorm(width)
        for table in (self.item, self.category, self.behavior, self.gap, self.position):
            nn.init.normal_(table.weight, std=1 / math.sqrt(width))
        nn.init.ones_(self.repeat_gates.bias)
        nn.init.zeros_(self.repeat_gates.weight)

    def forward(self, batch: Batch) -> Tensor:
        """Vectors [sequence, position, dimension] of positions, each seeing itself and what came before."""
        positions = torch.arange(batch.items.shape[1], device=batch.items.device)
        states = (
            self.item(batch.items)
            + self.category(batch.categories)
            + self.behavior(batch.behaviors)
            + self.gap(batch.gaps)
            + self.position(positions)
        )
        states = self.dropout(states)
        for block in self.blocks:
            states = block(states)
        normalised: Tensor = self.out_norm(states)
        return normalised

    def logits(self, vectors: Tensor, candidates: Tensor, taken: Taken) -> Tensor:
        """Logits [vector, candidate] of the item codes `candidates`, raised for items that were taken before.

        How much, the vector decides through its gates: the repeat and explore modes of RepeatNet (Ren et al. 2019,
        arXiv 1812.02646) in one softmax. An embedding of this size cannot remember which items a long history held.
        """
        logits = functional.linear(vectors, self.item(candidates), self.item_bias[candidates])
        gates = self.repeat_gates(vectors)[taken.vectors]
        return logits.index_put((taken.vectors, taken.candidates), (gates * taken.features).sum(-1), accumulate=True)
