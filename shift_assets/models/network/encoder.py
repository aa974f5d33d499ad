"""A compact causal encoder of users' events, and the item table that its vectors are compared with.

Pre-norm blocks (Xiong et al. 2020, arXiv 2002.04745) over the sum of item, category, behaviour, time-gap and
position embeddings; the item embedding is also the output layer (SASRec, Kang & McAuley 2018, arXiv 1808.09781).
Other architectures replace the transformer's blocks by recurrent layers or a mean.

Sequences are packed: a batch is one row of tokens without padding. Everything but attention works token by token;
attention works on runs of neighbouring chunks of similar length.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.models.data.item_attributes import ItemAttributes
from shift_assets.models.data.sequences import GAP_BUCKETS, REPEAT_FEATURES
from shift_assets.models.network.batch import Batch
from shift_assets.models.network.blocks import BLOCKS, Shape

CONTEXT_INIT_SCALE = 0.1
"""Initial length of category, behaviour, gap and position vectors, relative to that of an item vector."""


class CausalEncoder(nn.Module):
    """Encode users' events, one vector per event; its product with an item's row of the item table is a logit.

    `repeat_gates` computes from a vector how much the logits of items of the user's history are raised: a copy
    mechanism for repeat consumption, the repeat and explore modes of RepeatNet (Ren et al. 2019, arXiv 1812.02646) in
    one softmax. A vector of this size cannot hold which items occurred in a long history. A shape without `repeats`
    leaves it unused.
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
        self.repeat_gates = nn.Linear(width, REPEAT_FEATURES)
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
            nn.init.normal_(table.weight, std=CONTEXT_INIT_SCALE / math.sqrt(width))
        nn.init.ones_(self.repeat_gates.bias)
        nn.init.zeros_(self.repeat_gates.weight)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.item_bias.device

    def set_item_attributes(self, attributes: ItemAttributes) -> None:
        """Set the items' attributes, whose sizes are those of the shape; items without any have only their own row."""
        with torch.no_grad():
            if self.shape.attributes:
                self.attribute_offsets[1:] = torch.from_numpy(attributes.offsets)
                self.attribute_codes.copy_(torch.from_numpy(attributes.codes))
            if self.shape.content:
                self.content_vectors[1:] = torch.from_numpy(attributes.content)

    def item_rows(self, codes: Tensor | None = None) -> Tensor:
        """Rows [code, dimension] of the item table: of the given item codes, or of all from code 0 on.

        A row is the sum of the item's own vector, the mean vector of its attributes, and a projection of its content.
        In training own vectors are dropped at random, so that attributes and content represent items without events
        (DropoutNet, Volkovs et al. 2017).
        """
        rows: Tensor = self.item.weight if codes is None else self.item(codes)
        if self.training and self.shape.item_dropout:
            mask = torch.rand(len(rows), 1, device=rows.device) >= self.shape.item_dropout
            rows = rows * mask
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
        """Vectors [token, dimension], each of the token's event and those before it in its chunk."""
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
