"""Item transitions: items of a user's next visits, given the items of this one.

A visit is a user's active day. Pairs (item of a visit, item of one of the next `VISITS_AHEAD` visits) are counted,
each visit with weight 1 / sqrt(its items) so that long orders do not dominate, decayed by `VISIT_DECAY` per visit in
between, and divided by sqrt((n_i + c)(n_j + c)): sequential neighbours after Ludewig & Jannach 2018
(arXiv 1803.09587).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.candidates.sparse_top_k import top_k_product
from shift_assets.recommend.window import Window

VISITS_AHEAD = 5
VISIT_DECAY = 0.8
HISTORY_DECAY = 0.8
"""Weight of a visit in a user's state relative to the visit after it."""
SUPPORT = 20.0
"""Users added to both counts, so that a pair seen once or twice weighs little."""


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of item transitions."""

    followers: int = 100
    """Following items stored per item."""


def item_transitions(window: Window, visits: Int64Array, top_k: int) -> sparse.csr_matrix:
    """The `top_k` strongest followers of every item, [item, following item]; `visits[event]` numbers the visits."""
    count = int(visits[-1]) + 1 if len(visits) else 0
    valid_events = ~window.returned
    held = sparse.csr_matrix(
        (np.ones(int(valid_events.sum()), np.float32), (visits[valid_events], window.items[valid_events])),
        shape=(count, window.item_count),
    )
    held.data = np.ones_like(held.data)
    sizes = np.maximum(np.diff(held.indptr), 1)
    held = sparse.diags((1 / np.sqrt(sizes)).astype(np.float32)) @ held
    owners = np.zeros(count, dtype=np.int64)
    owners[visits] = window.owners
    ahead = sparse.csr_matrix(held.shape, dtype=np.float32)
    for lag in range(1, min(VISITS_AHEAD, count - 1) + 1):
        same_user = np.append(owners[lag:] == owners[:-lag], np.zeros(lag, dtype=bool))
        shifted = sparse.csr_matrix(
            (same_user[:-lag].astype(np.float32), (np.arange(count - lag), np.arange(lag, count))), shape=(count, count)
        )
        ahead = ahead + VISIT_DECAY ** (lag - 1) * (shifted @ held)
    support = np.sqrt(np.bincount(window.items[valid_events], minlength=window.item_count) + SUPPORT).astype(np.float32)

    def likelihood(block: sparse.csr_matrix, rows: Int64Array) -> None:
        block.data /= support[np.repeat(rows, np.diff(block.indptr))] * support[block.indices]

    return top_k_product(held.T.tocsr(), ahead.tocsr(), top_k, likelihood)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    follows = item_transitions(inputs.window, inputs.window.visits, Config().followers)

    def scorer(window: Window) -> Scorer:
        last = np.zeros(len(window.sequences.users), dtype=np.int64)
        active = window.sequences.lengths > 0
        last[active] = window.visits[window.sequences.offsets[1:][active] - 1]
        state = window.user_items(HISTORY_DECAY ** (last[window.owners] - window.visits))

        def scores(users: Int64Array) -> Float32Array:
            return np.asarray((state[users] @ follows).toarray(), dtype=np.float32)

        return scores

    return scorer


ITEM_TRANSITIONS = CandidateGenerator(
    "transitions", _fit, {"en": "Often follows the last visits", "zh": "常在最近的访问之后被选购"}
)
