"""The torch next-item model as a candidate generator."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.window import Window

if TYPE_CHECKING:
    from shift_assets.models.network.interest_model import InterestModel


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    """Score = the item's probability over that of the user's best item; 0 for an item that the model does not know."""
    model = inputs.model
    if model is None:
        raise ValueError("the interest_model generator needs a model")
    return partial(_scorer, model)


def _scorer(model: InterestModel, window: Window) -> Scorer:
    from shift_assets.models.inference.scoring import UserScorer

    sequences = window.sequences.of_users(window.target_users).recoded(window.vocabulary, model.vocabulary)
    scorer = UserScorer.of(model, sequences)
    positions = model.vocabulary.item_codes(pa.array(window.vocabulary.items, pa.string())) - 1
    known = np.flatnonzero(positions >= 0)

    def scores(users: Int64Array) -> Float32Array:
        block = np.zeros((len(users), window.item_count), dtype=np.float32)
        if len(known):
            logits = scorer.logits(np.searchsorted(window.target_users, users))[:, positions[known]]
            block[:, known] = np.exp(logits - logits.max(axis=1, keepdims=True))
        return block

    return scores


INTEREST_MODEL = CandidateGenerator(
    "interest_model",
    _fit,
    {"en": "Fits the course of recent activity", "zh": "符合近期行为走势"},
    needs_model=True,
)
