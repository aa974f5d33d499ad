"""Frequent itemsets."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shift_assets.interest.itemsets import LARGEST_ITEMSET, mine_itemsets

BASKETS = st.lists(
    st.sets(st.sampled_from(["fell:a", "fell:b", "rose:c", "rose:d"])).map(sorted), min_size=6, max_size=30
)


@given(BASKETS)
@hypothesis_settings(max_examples=30, deadline=None)
def test_frequent_itemsets_are_counted_right(baskets: list[list[str]]) -> None:
    """The miner finds exactly the itemsets that so many users hold, with their number."""
    items = sorted({item for basket in baskets for item in basket})
    subsets = (frozenset(some) for size in range(1, LARGEST_ITEMSET + 1) for some in combinations(items, size))
    counted = {some: sum(some <= set(basket) for basket in baskets) for some in subsets}
    assert mine_itemsets(baskets, 3) == {some: n for some, n in counted.items() if n >= 3}
