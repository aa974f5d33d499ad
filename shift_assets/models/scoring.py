"""A trained model turned on users' histories: vectors, scores, best items. Never trains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from shift_assets.models.encoder import Batch, CausalEncoder
from shift_assets.models.sequences import (
    TAKEN_FEATURES,
    Chunks,
    Integers,
    Sequences,
    Vocabulary,
    newest,
    taken_before,
)

Floats = npt.NDArray[np.float32]

USERS_PER_BLOCK = 512


@dataclass(frozen=True)
class InterestModel:
    """Weights and the vocabulary that they speak of: all that scoring needs."""

    network: CausalEncoder
    vocabulary: Vocabulary
    version: str = "unsaved"


def batch_of(sequences: Sequences, pieces: Chunks, rows: Integers) -> tuple[Batch, Integers]:
    """The chunks `rows` as a padded batch, and the event index [row, position] of every position, -1 for padding."""
    lengths = pieces.lengths[rows]
    positions = np.arange(max(int(lengths.max(initial=0)), 1))
    events = np.where(positions < lengths[:, None], pieces.starts[rows][:, None] + positions, -1)
    real = events >= 0

    def padded(codes: Integers) -> torch.Tensor:
        values = np.zeros(events.shape, dtype=np.int64)
        values[real] = codes[events[real]]
        return torch.from_numpy(values)

    return Batch(
        *(padded(c) for c in (sequences.items, sequences.categories, sequences.behaviors, sequences.gaps))
    ), events


def user_vectors(model: InterestModel, histories: Sequences) -> tuple[Floats, Floats]:
    """Vector [user, dimension] of every user after its newest event, and its repeat gates [user, feature].

    Zeros for a user without events.
    """
    network = model.network
    device = network.item_bias.device
    pieces = newest(histories, network.shape.maximum_length)
    vectors = np.zeros((len(histories.users), network.shape.dimensions), dtype=np.float32)
    gates = np.zeros((len(histories.users), TAKEN_FEATURES), dtype=np.float32)
    by_length = np.argsort(pieces.lengths, kind="stable")
    by_length = by_length[pieces.lengths[by_length] > 0]
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(by_length), USERS_PER_BLOCK):
            rows = by_length[start : start + USERS_PER_BLOCK]
            batch, _ = batch_of(histories, pieces, rows)
            states = network(Batch(*(codes.to(device) for codes in batch)))
            last = torch.from_numpy(pieces.lengths[rows] - 1).to(device)
            states = states[torch.arange(len(rows), device=device), last]
            vectors[rows] = states.cpu().numpy()
            gates[rows] = network.repeat_gates(states).cpu().numpy()
    return vectors, gates


@dataclass(frozen=True)
class UserScorer:
    """Users' logits for all items of the vocabulary, computed block by block.

    `vectors[user, dimension]`, `gates[user, feature]`, `embeddings[item, dimension]`, `bias[item]`.
    """

    histories: Sequences
    vectors: Floats
    gates: Floats
    embeddings: Floats
    bias: Floats

    @classmethod
    def of(cls, model: InterestModel, histories: Sequences) -> UserScorer:
        network = model.network
        vectors, gates = user_vectors(model, histories)
        embeddings = network.item.weight[1:].detach().cpu().numpy()
        return cls(histories, vectors, gates, embeddings, network.item_bias[1:].detach().cpu().numpy())

    def logits(self, users: Integers) -> Floats:
        """Logits [user, item] of a block of users."""
        block = self.vectors[users] @ self.embeddings.T + self.bias
        offsets = self.histories.offsets
        taken = taken_before(self.histories, offsets[:-1][users], offsets[1:][users])
        known = taken.items > 0
        rows, items, features = taken.histories[known], taken.items[known] - 1, taken.features[known]
        block[rows, items] += (self.gates[users][rows] * features).sum(axis=1)
        return np.asarray(block, dtype=np.float32)


def score(
    model: InterestModel, histories: Sequences, top_n: int, allowed_items: Collection[str] | None = None
) -> tuple[Integers, Floats]:
    """The `top_n` best items of every user and their logits, [user, place], best first.

    Items are indices into the vocabulary's items, -1 (score -inf) where fewer than `top_n` are allowed. Users go
    through in blocks: no users × items matrix is ever held.
    """
    scorer = UserScorer.of(model, histories)
    names = model.vocabulary.items
    allowed = np.arange(len(names)) if allowed_items is None else np.flatnonzero([n in allowed_items for n in names])
    places = min(top_n, len(allowed))
    items = np.full((len(histories.users), top_n), -1, dtype=np.int64)
    scores = np.full((len(histories.users), top_n), -np.inf, dtype=np.float32)
    if places == 0:
        return items, scores
    for start in range(0, len(histories.users), USERS_PER_BLOCK):
        users = np.arange(start, min(start + USERS_PER_BLOCK, len(histories.users)))
        block = scorer.logits(users)[:, allowed]
        best = np.argpartition(-block, places - 1, axis=1)[:, :places]
        order = np.lexsort((best, -np.take_along_axis(block, best, axis=1)), axis=1)
        best = np.take_along_axis(best, order, axis=1)
        items[users, :places] = allowed[best]
        scores[users, :places] = np.take_along_axis(block, best, axis=1)
    return items, scores
