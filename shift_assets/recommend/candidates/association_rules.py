"""Association rules of baskets and sessions: baskets with these items also hold that one.

A basket is one session of a user: events of one day without a pause of half an hour between them. Frequent itemsets
come from FP-growth (Han, Pei & Yin, SIGMOD 2000); the confidence of a rule is the share of the baskets with its
antecedents that also hold the consequent, and rules with lift above 1 are used. A user's score of an item is the sum
of the confidences of the rules that its baskets fire, each decayed by `BASKET_DECAY` per basket since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.interest.itemsets import Itemsets, Miner, SparkMiner, mine_itemsets
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs, Scorer
from shift_assets.recommend.window import Window

PAUSE_BUCKET = 12
"""Gap bucket from which on a pause ends a basket: 2,047 seconds and more."""
BASKET_DECAY = 0.8
MAXIMUM_ITEMS = 1_000
"""Items that rules are mined for, those in the most baskets."""
MAXIMUM_PAIRS = 5_000
"""Frequent pairs above which the minimum support is raised: with triples some 12,000 itemsets, mined in a CPU-second,
where a support of 5 in a wholesaler's quarter would give hundreds of thousands."""


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of association rules."""

    minimum_baskets: int = 5
    """Baskets that a frequent itemset is in, at least."""


class Rules(NamedTuple):
    """Rules as two matrices [rule, item]: 1 for an antecedent, the confidence for a consequent."""

    antecedents: sparse.csr_matrix
    consequents: sparse.csr_matrix


def baskets(window: Window) -> Int64Array:
    """Number [event] of the basket, counted from 0 through all users."""
    new_visit = np.diff(window.visits, prepend=0) > 0
    return np.cumsum(new_visit | (window.sequences.gaps >= PAUSE_BUCKET))


def minimum_basket_support(held: sparse.csr_matrix, requested: int) -> int:
    """`requested`, or the support that leaves at most MAXIMUM_PAIRS frequent pairs of binary `held[basket, item]`."""
    cooccurrences = sparse.triu(held.T @ held, k=1).data
    if len(cooccurrences) <= MAXIMUM_PAIRS:
        return requested
    return max(requested, int(np.partition(cooccurrences, -MAXIMUM_PAIRS - 1)[-MAXIMUM_PAIRS - 1]) + 1)


def rules(itemsets: Itemsets, n_baskets: int, item_count: int) -> Rules:
    """Rules with one consequent and lift above 1, from itemsets that name items by their number.

    Example:
        >>> found = rules({frozenset("0"): 2, frozenset("1"): 2, frozenset("01"): 2}, n_baskets=3, item_count=2)
        >>> found.consequents.toarray().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    found: dict[tuple[int, ...], dict[int, float]] = {}
    for itemset, cooccurrences in itemsets.items():
        for consequent in itemset if len(itemset) > 1 else ():
            antecedent = itemset - {consequent}
            confidence = cooccurrences / itemsets[antecedent]
            if confidence * n_baskets > itemsets[frozenset([consequent])]:
                found.setdefault(tuple(sorted(map(int, antecedent))), {})[int(consequent)] = confidence
    order = sorted(found)
    shape = (len(order), item_count)
    return Rules(
        _rows([dict.fromkeys(antecedent, 1.0) for antecedent in order], shape),
        _rows([dict(sorted(found[antecedent].items())) for antecedent in order], shape),
    )


def _rows(rows: Sequence[dict[int, float]], shape: tuple[int, int]) -> sparse.csr_matrix:
    offsets = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.array([column for row in rows for column in row], dtype=np.int64)
    values = np.array([value for row in rows for value in row.values()], dtype=np.float32)
    return sparse.csr_matrix((values, columns, offsets), shape=shape)


def _fit(inputs: GeneratorInputs) -> FittedGenerator:
    window = inputs.window
    mine = SparkMiner(inputs.session) if inputs.session is not None else mine_itemsets
    fitted_rules = _mine_rules(window, Config().minimum_baskets, mine)
    sizes = np.diff(fitted_rules.antecedents.indptr)

    def scorer(window: Window) -> Scorer:
        number = baskets(window)
        newest = np.zeros(len(window.sequences.users), dtype=np.int64)
        newest[window.owners] = number
        weights = BASKET_DECAY ** (newest[window.owners] - number)
        state = window.user_items(weights)
        state.data = np.minimum(state.data, 1)
        complete = (state.sign() @ fitted_rules.antecedents.T).tocsr()
        fired = (state @ fitted_rules.antecedents.T).tocsr()
        # Both products have the same entries at the same positions: all values are positive.
        rule = fired.indices
        fired.data = np.where(complete.data == sizes[rule], fired.data / sizes[rule], 0)
        fired.eliminate_zeros()

        def scores(users: Int64Array) -> Float32Array:
            return np.asarray((fired[users] @ fitted_rules.consequents).toarray(), dtype=np.float32)

        return scores

    return scorer


def _mine_rules(window: Window, requested: int, mine: Miner) -> Rules:
    number, valid = baskets(window), ~window.returned & (window.items >= 0)
    held = sparse.csr_matrix(
        (np.ones(int(valid.sum()), np.float32), (number[valid], window.items[valid])),
        shape=(int(number.max(initial=0)) + 1, window.item_count),
    ).sign()
    support = np.asarray(held.sum(axis=0)).ravel()
    common = np.argsort(-support, kind="stable")[:MAXIMUM_ITEMS]
    common = np.sort(common[support[common] >= requested])
    held = held[:, common]
    held = held[np.diff(held.indptr) > 0].tocsr()
    held.sort_indices()
    named = [[str(common[item]) for item in row] for row in np.split(held.indices, held.indptr[1:-1])]
    itemsets = mine(named, minimum_basket_support(held, requested)) if held.shape[0] else {}
    return rules(itemsets, held.shape[0], window.item_count)


ASSOCIATION_RULES = CandidateGenerator(
    "baskets", _fit, {"en": "Often taken together with past choices", "zh": "常与曾经选购的商品一同选购"}
)
