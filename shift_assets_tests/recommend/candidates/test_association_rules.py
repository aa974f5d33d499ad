"""Association rules of baskets: their confidences, the bound on their number, and when they fire."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from shift_assets.interest.itemsets import mine_itemsets
from shift_assets.recommend.candidates import association_rules as module
from shift_assets.recommend.candidates.association_rules import (
    ASSOCIATION_RULES,
    baskets,
    minimum_basket_support,
    rules,
)
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings
from shift_assets_tests.event_logs import Row, clean_events, day
from shift_assets_tests.recommend.generator_inputs import generator_inputs

CHOSEN = RecommendationSettings()
HELD = arrays.arrays(np.bool_, st.tuples(st.integers(4, 14), st.just(5)))


@settings(deadline=None, max_examples=40)
@given(HELD.filter(lambda held: bool(held.any(axis=1).all())))
def test_confidences_are_shares_of_baskets(held: npt.NDArray[np.bool_]) -> None:
    """Every rule's confidence is the share of the baskets with its antecedent that hold the consequent."""
    named = [[str(item) for item in np.flatnonzero(basket)] for basket in held]
    found = rules(mine_itemsets(named, 2), len(held), 5)
    for antecedent, consequents in zip(found.antecedents, found.consequents, strict=True):
        having = held[:, antecedent.indices].all(axis=1)
        for item, confidence in zip(consequents.indices, consequents.data, strict=True):
            assert confidence == pytest.approx(held[having, item].mean())
            assert confidence > held[:, item].mean()


@settings(deadline=None, max_examples=30)
@given(HELD, st.integers(1, 6), st.integers(1, 8))
def test_no_more_pairs_than_the_bound(held: npt.NDArray[np.bool_], requested: int, bound: int) -> None:
    """The support is raised until few enough pairs are frequent, and never lowered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAXIMUM_PAIRS", bound)
        minimum_support = minimum_basket_support(sparse.csr_matrix(held.astype(np.float32)), requested)
    cooccurrences = np.triu(held.T.astype(int) @ held, k=1)
    assert minimum_support >= requested
    assert (cooccurrences >= minimum_support).sum() <= bound or (
        minimum_support == requested and (cooccurrences > 0).sum() <= bound
    )


def test_a_pause_and_a_day_end_a_basket() -> None:
    """Events a minute apart are one basket; another day, or user, is another."""
    rows: list[Row] = [
        (0, "a", "x-1", "view"),
        (0, "a", "x-2", "view"),
        (1, "a", "x-3", "view"),
        (1, "b", "x-1", "view"),
    ]
    window = Window.of(clean_events(rows), day(1), CHOSEN)
    number = baskets(window)
    assert np.unique(number).tolist() == [0, 1, 2]
    assert len(set(zip(number.tolist(), window.owners.tolist(), strict=True))) == 3


def test_a_rule_fires_only_on_all_its_items() -> None:
    """Tea leads to milk, oil does not; and nothing leads to what all baskets hold."""
    rows: list[Row] = [
        (number % 9, f"user {number}", f"x-{item}", "purchase")
        for number in range(12)
        for item in ("tea", "milk", "sugar", "bag")
    ]
    rows += [
        (number % 9, f"other {number}", f"x-{item}", "purchase") for number in range(12) for item in ("oil", "bag")
    ]
    rows += [(9, "ann", "x-tea", "purchase"), (9, "bob", "x-oil", "purchase")]
    events = clean_events(rows)
    window = Window.of(events, day(9), CHOSEN)
    scores = ASSOCIATION_RULES.fit(generator_inputs(events, window, CHOSEN))(window)(
        np.arange(len(window.sequences.users))
    )
    position = {item: number for number, item in enumerate(window.vocabulary.items)}
    row_of: dict[frozenset[str], int] = {}
    for row in range(len(window.sequences.users)):
        own = {window.vocabulary.items[item] for item in window.items[window.owners == row]}
        row_of.setdefault(frozenset(own), row)
    ann, bob = scores[row_of[frozenset({"x-tea"})]], scores[row_of[frozenset({"x-oil"})]]
    assert ann[position["x-milk"]] > 0
    assert ann[position["x-oil"]] == 0
    assert bob[position["x-milk"]] == 0
    assert bob[position["x-tea"]] == 0
