"""A compact causal transformer over a user's events, and its two losses.

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
from shift_assets.models.sequences import GAP_BUCKETS


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
        return states + self.dropout(self.narrow(functional.gelu(self.widen(self.forward_norm(states)))))


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
        self.item_bias = nn.Parameter(torch.zeros(shape.items + 1))
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.out_norm = nn.LayerNorm(width)
        for table in (self.item, self.category, self.behavior, self.gap, self.position):
            nn.init.normal_(table.weight, std=1 / math.sqrt(width))

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

    def full_softmax_loss(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of `targets[n]` (item codes) over all items, from `vectors[n, dimension]`."""
        logits = functional.linear(vectors, self.item.weight[1:], self.item_bias[1:])
        return functional.cross_entropy(logits, targets - 1)

    def sampled_softmax_loss(self, vectors: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """Mean cross-entropy of the target against `negatives[k]`, item codes drawn uniformly, shared by all rows.

        The negatives' logits are raised by log(items / k), which makes their sum an estimate of the sum over the
        catalogue (log-Q correction, Bengio & Senécal 2008); a negative that is the target does not count.
        """
        positive = (vectors * self.item(targets)).sum(-1) + self.item_bias[targets]
        others = functional.linear(vectors, self.item(negatives), self.item_bias[negatives])
        others = others + math.log(self.shape.items / len(negatives))
        others = others.masked_fill(negatives == targets[:, None], -torch.inf)
        return functional.cross_entropy(torch.cat([positive[:, None], others], dim=1), torch.zeros_like(targets))
