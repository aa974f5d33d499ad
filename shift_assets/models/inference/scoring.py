"""Scoring of items for users' histories with a trained model: vectors, logits, best items."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.models.data.sequences import REPEAT_FEATURES, Sequences, flat_ranges, newest, past_items
from shift_assets.models.network.batch import Batch
from shift_assets.models.network.interest_model import InterestModel

USERS_PER_BLOCK = 512


def batch_of(sequences: Sequences, starts: Int64Array, lengths: Int64Array) -> tuple[Batch, Int64Array]:
    """The batch of the events `starts[chunk]` to before `starts[chunk] + lengths[chunk]`, and the events' indices.

    Every chunk holds at least one event; attention is cheapest if chunks are in order of length.
    """
    _, events = flat_ranges(starts, starts + lengths)
    items, categories = sequences.items[events], sequences.categories[events]
    return Batch.of(items, categories, sequences.behaviors[events], sequences.gaps[events], lengths), events


def user_vectors(model: InterestModel, histories: Sequences) -> tuple[Float32Array, Float32Array]:
    """Encoder vectors [user, dimension] after the newest event, and repeat gates [user, feature].

    Zeros for a user without events.
    """
    network = model.network
    pieces = newest(histories, network.shape.maximum_length)
    vectors = np.zeros((len(histories.users), network.shape.dimensions), dtype=np.float32)
    gates = np.zeros((len(histories.users), REPEAT_FEATURES), dtype=np.float32)
    by_length = np.argsort(pieces.lengths, kind="stable")
    by_length = by_length[pieces.lengths[by_length] > 0]
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(by_length), USERS_PER_BLOCK):
            rows = by_length[start : start + USERS_PER_BLOCK]
            batch, _ = batch_of(histories, pieces.starts[rows], pieces.lengths[rows])
            states = network(batch.to(network.device))
            last = torch.from_numpy(np.cumsum(pieces.lengths[rows]) - 1).to(network.device)
            states = states[last]
            vectors[rows] = states.cpu().numpy()
            gates[rows] = network.repeat_gates(states).cpu().numpy()
    return vectors, gates


@dataclass(frozen=True)
class UserScorer:
    """Users' logits for all items of the vocabulary, computed block by block.

    `vectors[user, dimension]`, `gates[user, feature]`, `embeddings[item, dimension]`, `bias[item]`; `repeats` says
    whether items of the user's history are raised.
    """

    histories: Sequences
    vectors: Float32Array
    gates: Float32Array
    embeddings: Float32Array
    bias: Float32Array
    repeats: bool

    @classmethod
    def of(cls, model: InterestModel, histories: Sequences) -> UserScorer:
        network = model.network
        vectors, gates = user_vectors(model, histories)
        with torch.inference_mode():
            embeddings = network.item_rows()[1:].cpu().numpy()
            bias = network.item_bias[1:].cpu().numpy()
        return cls(histories, vectors, gates, embeddings, bias, network.shape.repeats)

    def logits(self, users: Int64Array) -> Float32Array:
        """Logits [user, item] of a block of users."""
        block: Float32Array = self.vectors[users] @ self.embeddings.T
        block += self.bias
        if self.repeats:
            boost_repeats(block, self.histories, self.gates, users)
        return block


def boost_repeats(block: Float32Array, histories: Sequences, gates: Float32Array, users: Int64Array) -> None:
    """Raise, in the logits `block[user, item]` of `users`, the items of each user's history, by `gates[user, feature]`.

    The logits are changed in place.
    """
    offsets = histories.offsets
    taken = past_items(histories, offsets[:-1][users], offsets[1:][users])
    known = taken.items > 0
    rows, items, features = taken.histories[known], taken.items[known] - 1, taken.features[known]
    block[rows, items] += (gates[users][rows] * features).sum(axis=1)


def score(
    model: InterestModel,
    histories: Sequences,
    top_n: int,
    allowed_items: Collection[str] | None = None,
    *,
    masked: bool = False,
) -> tuple[Int64Array, Float32Array]:
    """The `top_n` items of every user with the largest logits; users are scored in blocks, to bound the memory.

    Args:
        model: The model.
        histories: Users' events, in codes of the model's vocabulary.
        top_n: Number of items per user.
        allowed_items: Items that may be returned; None for all.
        masked: Leave out the items of the user's own history.

    Returns:
        Items [user, rank], as indices into the vocabulary's items, and their logits [user, rank], best first; -1 and
        -inf where fewer than `top_n` items are allowed. Ties go to the lower index.
    """
    scorer = UserScorer.of(model, histories)
    names = model.vocabulary.items
    allowed = np.arange(len(names)) if allowed_items is None else np.flatnonzero([n in allowed_items for n in names])
    k = min(top_n, len(allowed))
    items = np.full((len(histories.users), top_n), -1, dtype=np.int64)
    scores = np.full((len(histories.users), top_n), -np.inf, dtype=np.float32)
    if k == 0:
        return items, scores
    for start in range(0, len(histories.users), USERS_PER_BLOCK):
        users = np.arange(start, min(start + USERS_PER_BLOCK, len(histories.users)))
        block = scorer.logits(users)
        if masked:
            owner, event = flat_ranges(histories.offsets[:-1][users], histories.offsets[1:][users])
            known = histories.items[event] > 0
            block[owner[known], histories.items[event[known]] - 1] = -np.inf
        if len(allowed) < len(names):
            block = block[:, allowed]
        found, best = (part.numpy() for part in torch.from_numpy(block).topk(k))
        # topk does not define the order of equal scores.
        order = np.lexsort((best, -found), axis=1)
        best, found = np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)
        items[users, :k] = np.where(np.isneginf(found), -1, allowed[best])
        scores[users, :k] = found
    return items, scores
