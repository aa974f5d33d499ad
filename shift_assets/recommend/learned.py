"""The torch next-item model as a candidate source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from shift_assets.models.sequences import Integers
from shift_assets.recommend.source import Fitted, Inputs, Scorer, Source
from shift_assets.recommend.window import Floats, Window

if TYPE_CHECKING:
    from shift_assets.models.scoring import InterestModel


def _fit(inputs: Inputs) -> Fitted:
    """Score = the item's probability over that of the user's best item; 0 for an item the model does not know."""
    model = inputs.model
    if model is None:
        raise ValueError("the interest_model source needs a model")
    return partial(_scorer, model)


def _scorer(model: InterestModel, window: Window) -> Scorer:
    from shift_assets.models.scoring import UserScorer

    listed = window.sequences.of_users(window.listed).recoded(window.vocabulary, model.vocabulary)
    scorer = UserScorer.of(model, listed)
    places = model.vocabulary.item_codes(pa.array(window.vocabulary.items, pa.string())) - 1
    known = np.flatnonzero(places >= 0)

    def scores(users: Integers) -> Floats:
        block = np.zeros((len(users), window.item_count), dtype=np.float32)
        if len(known):
            logits = scorer.logits(np.searchsorted(window.listed, users))[:, places[known]]
            block[:, known] = np.exp(logits - logits.max(axis=1, keepdims=True))
        return block

    return scores


INTEREST_MODEL = Source("interest_model", _fit, needs_model=True)
