"""Inputs and logits of the heads at prediction points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shift_assets.arrays import Int64Array
from shift_assets.models.data.prediction_points import PredictionTimes, Timeline
from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.inference.scoring import InterestModel, batch_of
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import (
    Heads,
    PastCategories,
    TaskLogits,
    category_rows,
)

POINTS_PER_BLOCK = 512


class PredictionPoints(NamedTuple):
    """Looks at a log, ready to be foretold."""

    timeline: Timeline
    prediction_times: PredictionTimes


class HeadInputs(NamedTuple):
    """What the heads read of looks: vectors [look, dimension], numbers [look, FEATURES], categories taken before.

    `category_rows` are those of the encoder, the same for all looks.
    """

    vectors: Tensor
    features: Tensor
    taken: PastCategories
    category_rows: Tensor

    @classmethod
    def of(
        cls, prediction_points: PredictionPoints, vectors: Tensor, network: CausalEncoder, vocabulary: Vocabulary
    ) -> HeadInputs:
        """Looks whose encoder vectors are `vectors`."""
        before = prediction_points.timeline.past_categories(prediction_points.prediction_times)
        known = before.items > 0
        times, recent = np.expm1(before.features[known][:, 1:]).T
        parts = (before.histories[known], before.items[known] - 1, times, recent)
        return cls(
            vectors,
            torch.from_numpy(
                prediction_points.timeline.features(prediction_points.prediction_times, network.shape.maximum_length)
            ).to(vectors.device),
            PastCategories(*(torch.from_numpy(np.ascontiguousarray(part)).to(vectors.device) for part in parts)),
            category_rows(network, vocabulary),
        )

    def take(self, which: Tensor) -> HeadInputs:
        """Only these looks, in this order."""
        lengths = torch.bincount(self.taken.prediction_points, minlength=len(self.vectors))
        starts = torch.cumsum(lengths, 0) - lengths
        point = torch.repeat_interleave(torch.arange(len(which), device=which.device), lengths[which])
        first = torch.cumsum(lengths[which], 0) - lengths[which]
        entry = starts[which][point] + torch.arange(len(point), device=which.device) - first[point]
        taken = PastCategories(point, *(part[entry] for part in self.taken[1:]))
        return HeadInputs(self.vectors[which], self.features[which], taken, self.category_rows)


def point_vectors(network: CausalEncoder, sequences: Sequences, events: Int64Array) -> Tensor:
    """Vectors [look, dimension] at events, each of the newest events up to it; nothing is learned."""
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


def logits_at(model: InterestModel, heads: Heads, prediction_points: PredictionPoints) -> TaskLogits:
    """What trained heads say of looks, on the CPU."""
    heads.eval()
    with torch.inference_mode():
        vectors = point_vectors(
            model.network, prediction_points.timeline.sequences, prediction_points.prediction_times.events
        )
        inputs = HeadInputs.of(prediction_points, vectors, model.network, model.vocabulary)
        return TaskLogits(*(part.cpu() for part in heads(*inputs)))
