"""The weights that a training starts from: an earlier model's, item transitions, item popularity."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from shift_assets.models.data.sequences import Sequences, Vocabulary
from shift_assets.models.data.transition_vectors import transition_vectors
from shift_assets.models.network.blocks import Shape
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.interest_model import InterestModel


def transfer_weights(network: CausalEncoder, vocabulary: Vocabulary, previous: InterestModel) -> bool:
    """Copy the weights of `previous` into `network`; False where their shapes differ.

    Items and categories are matched by name, and new items start at the mean of the known items of their category.
    Attributes are matched by code, which has to mean the same in both.
    """
    old = previous.network
    if _comparable(old.shape) != _comparable(network.shape):
        return False
    own = network.state_dict()
    buffers = {name for name, _ in network.named_buffers()}
    for name, tensor in old.state_dict().items():
        if name not in {"item.weight", "category.weight", "item_bias", *buffers}:
            own[name].copy_(tensor)
    old_items = torch.from_numpy(previous.vocabulary.item_codes(pa.array(vocabulary.items, pa.string())))
    old_categories = torch.from_numpy(previous.vocabulary.category_codes(pa.array(vocabulary.categories, pa.string())))
    known, known_categories = old_items > 0, old_categories > 0
    own["category.weight"][1:][known_categories] = old.category.weight.detach()[old_categories[known_categories]]
    rows = own["item.weight"][1:]
    rows[known] = old.item.weight.detach()[old_items[known]]
    own["item_bias"][1:][known] = old.item_bias.detach()[old_items[known]]
    category = torch.from_numpy(vocabulary.item_categories[1:])
    sums = torch.zeros(len(vocabulary.categories) + 1, rows.shape[1]).index_add_(0, category[known], rows[known])
    counts = torch.bincount(category[known], minlength=len(sums))
    means = sums / counts.clamp(min=1)[:, None]
    new = ~known & (counts[category] > 0)
    rows[new] = means[category[new]]
    return True


def _comparable(shape: Shape) -> Shape:
    """The shape without sizes that depend on the log, and without dropout."""
    return shape._replace(items=0, categories=0, attribute_entries=0, dropout=0.0, item_dropout=0.0)


def log_popularity(sequences: Sequences, items: int) -> torch.Tensor:
    """log(1 + events) [item code], centred: an initial bias, so that popularity need not be trained."""
    logs = np.log1p(np.bincount(sequences.items, minlength=items + 1))
    return torch.from_numpy((logs - logs[1:].mean()).astype(np.float32))


def initialise_item_embeddings(network: CausalEncoder, learnable: Sequences, seed: int) -> None:
    """Initialise the item table from item transitions; items without transitions keep their random rows."""
    vectors = torch.from_numpy(transition_vectors(learnable, network.shape.items, network.shape.dimensions, seed))
    known = vectors.abs().sum(dim=1) > 0
    with torch.no_grad():
        network.item.weight[known] = vectors[known]


def zero_unseen_items(network: CausalEncoder, learnable: Sequences) -> None:
    """Zero the own vectors of items without events, from which training would only learn that nobody took them."""
    start = log_popularity(learnable, network.shape.items)
    unseen = torch.from_numpy(np.bincount(learnable.items, minlength=network.shape.items + 1) == 0)
    with torch.no_grad():
        network.item.weight[unseen] = 0
        network.item_bias[unseen] = start[unseen]
