"""A table of bytes ranks nearly as the table that it was made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shift_assets.models.data.item_attributes import ItemAttributes
from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.inference.quantised import Int8Rows, QuantisedModel, QuantisedScorer, weight_bytes
from shift_assets.models.inference.scoring import UserScorer
from shift_assets.models.network.blocks import Shape
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.interest_model import InterestModel

ITEMS = 300


@pytest.fixture(scope="module")
def model() -> InterestModel:
    torch.manual_seed(0)
    attributes = ItemAttributes.of_codes(np.arange(ITEMS + 1), np.arange(ITEMS) % 7)
    network = CausalEncoder(Shape(ITEMS, 1, 32, 1, 2, 0.0, 10, attributes=7, attribute_entries=ITEMS))
    network.set_item_attributes(attributes)
    torch.nn.init.normal_(network.attribute.weight)
    names = tuple(f"{position:03d}" for position in range(ITEMS))
    return InterestModel(network, Vocabulary(names, ("all",), np.ones(ITEMS + 1, dtype=np.int64)))


@pytest.fixture(scope="module")
def histories() -> Sequences:
    random = np.random.default_rng(1)
    lengths = random.integers(1, 10, 50)
    codes = random.integers(1, ITEMS + 1, lengths.sum())
    one = np.ones_like(codes)
    offsets = np.append(0, np.cumsum(lengths))
    return Sequences(tuple(map(str, range(50))), offsets, codes, one, one, one * 0, one * 19_000)


def test_quantisation_error_is_half_a_step_at_most() -> None:
    """Per row, a step is a 127th of its largest number; a row of zeros stays one."""
    rows = torch.randn(40, 16, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 40)[:, None]
    rows[7] = 0
    back = Int8Rows(rows)(torch.arange(40))
    assert ((back - rows).abs() <= rows.abs().amax(dim=1, keepdim=True) / 254 * 1.001).all()


def test_recommendations_from_int8_rows_are_nearly_the_same(model: InterestModel, histories: Sequences) -> None:
    """Nine of ten of the best twenty items, in a little over a quarter of the memory; the model stays as it was."""
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    quantised = QuantisedModel.of(model)
    users = np.arange(len(histories.users))
    exact = UserScorer.of(model, histories).logits(users)
    close = QuantisedScorer.of(quantised, histories).logits(users)
    best, nearly = (np.argsort(-logits, axis=1)[:, :20] for logits in (exact, close))
    kept = np.mean([len(np.intersect1d(one, other)) for one, other in zip(best, nearly, strict=True)]) / 20
    assert kept > 0.9
    assert weight_bytes(quantised.rows) < 0.3 * weight_bytes(model.network.item)
    assert quantised.size < weight_bytes(model.network)
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())
