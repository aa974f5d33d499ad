"""Pairs of items in the same basket more often than before."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PAIR_ITEMS = 300
"""Most frequent items among which pairs are searched: pairs of rare items occur together by chance."""
PAIR_BASKETS = 5
"""Minimum number of baskets of the recent window with both items."""
PAIRS_LISTED = 5

_PAIR_BEHAVIORS = pa.array(["view", "click", "favorite", "cart", "purchase"])


def rising_pairs(recent: pa.Table, reference: pa.Table) -> dict[str, list[dict[str, str | float]]]:
    """Return, per category, the pairs of items whose share of baskets rose, by lift, at most `PAIRS_LISTED`.

    A basket is one user's day, with the items viewed, clicked, favourited, put in the cart or bought. Lift is that of
    the recent window, n_ab n / (n_a n_b). A pair is listed under the category of either item.

    Args:
        recent: `clean_events` of the recent window.
        reference: `clean_events` of the reference window.
    """
    from scipy.sparse import csr_matrix

    recent, reference = (_distinct_basket_items(events) for events in (recent, reference))
    counted = recent.group_by("item_id").aggregate([("basket", "count")])
    counted = counted.sort_by([("basket_count", "descending"), ("item_id", "ascending")]).slice(0, PAIR_ITEMS)
    items = counted["item_id"].combine_chunks()
    items = items.take(pc.sort_indices(items))
    pair_counts, item_counts, n_baskets = [], [], []
    for baskets in (recent, reference):
        item = pc.index_in(baskets["item_id"], value_set=items)
        known = item.is_valid().to_numpy()
        basket = baskets["basket"].to_numpy()
        column = item.drop_null().to_numpy()
        shape = (int(basket.max(initial=-1)) + 1, len(items))
        incidence = csr_matrix((np.ones(len(column)), (basket[known], column)), shape=shape)
        pair_counts.append((incidence.T @ incidence).toarray())
        item_counts.append(np.asarray(incidence.sum(axis=0)).ravel())
        n_baskets.append(max(shape[0], 1))
    first, second = np.nonzero(np.triu(pair_counts[0] >= PAIR_BASKETS, k=1))
    rate_recent = pair_counts[0][first, second] / n_baskets[0]
    rate_before = pair_counts[1][first, second] / n_baskets[1]
    lift = pair_counts[0][first, second] * n_baskets[0] / (item_counts[0][first] * item_counts[0][second])
    category = _newest_category(recent, items)
    names = items.to_pylist()
    out: dict[str, list[dict[str, str | float]]] = {}
    for pair in np.lexsort((second, first, -lift)):
        if rate_recent[pair] <= rate_before[pair]:
            continue
        a, b = int(first[pair]), int(second[pair])
        for name in dict.fromkeys((category[names[a]], category[names[b]])):
            listed = out.setdefault(name, [])
            if len(listed) < PAIRS_LISTED:
                listed.append({"item_a": names[a], "item_b": names[b], "lift": float(lift[pair])})
    return out


def _distinct_basket_items(events: pa.Table) -> pa.Table:
    """Distinct (basket, item) of a window with the item's category; a basket is one user's day, numbered from 0."""
    interactions = events.filter(pc.is_in(events["behavior"], value_set=_PAIR_BEHAVIORS))
    rows = interactions.group_by(["day", "user_id", "item_id"]).aggregate([("category", "max")])
    basket = pc.binary_join_element_wise(pc.cast(rows["day"], pa.string()), rows["user_id"], "|")
    number = pc.index_in(basket, value_set=pc.unique(basket))
    return pa.table(
        {"basket": number, "item_id": rows["item_id"], "day": rows["day"], "category": rows["category_max"]}
    )


def _newest_category(baskets: pa.Table, items: pa.Array) -> dict[str, str]:
    """Category of every item on its newest day."""
    known = baskets.filter(pc.is_in(baskets["item_id"], value_set=items)).sort_by(
        [("day", "ascending"), ("category", "ascending")]
    )
    return dict(zip(known["item_id"].to_pylist(), known["category"].to_pylist(), strict=True))
