"""The interest model: the network's weights and the vocabulary that its codes refer to."""

from __future__ import annotations

from dataclasses import dataclass

from shift_assets.models.data.sequences import Vocabulary
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import TrainedHeads


@dataclass(frozen=True)
class InterestModel:
    """All that scoring needs; without `trained_heads` the model ranks items only."""

    network: CausalEncoder
    vocabulary: Vocabulary
    version: str = "unsaved"
    trained_heads: TrainedHeads | None = None
