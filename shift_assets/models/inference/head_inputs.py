"""Inputs and logits of the heads at prediction points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shift_assets.arrays import Int64Array
from shift_assets.models.data.prediction_points import PredictionPoints
from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.inference.scoring import batch_of
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import Heads, PastCategories, TaskLogits, category_rows
from shift_assets.models.network.interest_model import InterestModel

POINTS_PER_BLOCK = 512


class HeadInputs(NamedTuple):
    """What the heads read: encoder vectors [point, dimension], features [point, FEATURES], and past categories.

    `category_rows` [category, dimension] are those of the encoder, the same for all points.
    """

    vectors: Tensor
    features: Tensor
    taken: PastCategories
    category_rows: Tensor

    @classmethod
    def of(
        cls, points: PredictionPoints, vectors: Tensor, network: CausalEncoder, vocabulary: Vocabulary
    ) -> HeadInputs:
        """Inputs of the points whose encoder vectors are `vectors`."""
        before = points.past_categories()
        known = before.items > 0
        times, recent = np.expm1(before.features[known][:, 1:]).T
        parts = (before.histories[known], before.items[known] - 1, times, recent)
        return cls(
            vectors,
            torch.from_numpy(points.features(network.shape.maximum_length)).to(vectors.device),
            PastCategories(*(torch.from_numpy(np.ascontiguousarray(part)).to(vectors.device) for part in parts)),
            category_rows(network, vocabulary),
        )

    def take(self, which: Tensor) -> HeadInputs:
        """Only these points, in this order."""
        lengths = torch.bincount(self.taken.prediction_points, minlength=len(self.vectors))
        starts = torch.cumsum(lengths, 0) - lengths
        point = torch.repeat_interleave(torch.arange(len(which), device=which.device), lengths[which])
        first = torch.cumsum(lengths[which], 0) - lengths[which]
        entry = starts[which][point] + torch.arange(len(point), device=which.device) - first[point]
        taken = PastCategories(point, *(part[entry] for part in self.taken[1:]))
        return HeadInputs(self.vectors[which], self.features[which], taken, self.category_rows)


def point_vectors(network: CausalEncoder, sequences: Sequences, events: Int64Array) -> Tensor:
    """Encoder vectors [point, dimension] at `events`, each from the newest events up to it; without gradients."""
    owners = np.searchsorted(sequences.offsets, events, side="right") - 1
    starts = np.maximum(sequences.offsets[owners], events + 1 - network.shape.maximum_length)
    lengths = events + 1 - starts
    order = np.argsort(lengths, kind="stable")
    vectors = torch.zeros((len(events), network.shape.dimensions), device=network.device)
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(order), POINTS_PER_BLOCK):
            rows = order[first : first + POINTS_PER_BLOCK]
            batch, _ = batch_of(sequences, starts[rows], lengths[rows])
            last = torch.from_numpy(np.cumsum(lengths[rows]) - 1).to(network.device)
            vectors[torch.from_numpy(rows).to(network.device)] = network(batch.to(network.device))[last]
    return vectors


def logits_at(model: InterestModel, heads: Heads, points: PredictionPoints) -> TaskLogits:
    """Logits of trained heads at prediction points, on the CPU."""
    heads.eval()
    with torch.inference_mode():
        vectors = point_vectors(model.network, points.timeline.sequences, points.events)
        inputs = HeadInputs.of(points, vectors, model.network, model.vocabulary)
        return TaskLogits(*(part.cpu() for part in heads(*inputs)))
