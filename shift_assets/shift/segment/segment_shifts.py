"""The campaign view: how the interest of a whole segment moves between categories, and which pairs rise with it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, sum_by
from shift_assets.contracts.shift import SEGMENT_SHIFTS

RECENT_DAYS = 7
"""Calendar days of the recent window: whole weeks, so that weekdays weigh the same on both sides."""
REFERENCE_DAYS = 28
STEADY_Z = 3.0
"""Standard errors below which a category counts as steady.

With a t distribution of about six degrees of freedom, 2.4 % of unmoved categories are beyond 3, one in forty.
"""
PAIR_ITEMS = 300
"""Most frequent items among which pairs are sought: pairs of rare items are seen together by chance."""
PAIR_BASKETS = 5
"""Baskets of the recent window that a pair must share."""
PAIRS_LISTED = 5

_PAIR_BEHAVIORS = pa.array(["view", "click", "favorite", "cart", "purchase"])


def segment_shifts(series: pa.Table, events: pa.Table, day: date, segment: str) -> pa.Table:
    """`segment_shifts` of one day and segment: one row per category with interest in either window.

    series, events: `interest_series` and `clean_events` of the segment over the 35 calendar days up to `day`; rows
    of other days and segments are not looked at. Recent: the 7 days up to `day`; reference: the 28 before.

    Shares are the category's part of the score of all users. z is the change of share over its standard error,
    each window's share being a ratio estimate with days as clusters (Cochran, "Sampling Techniques", 3rd ed.,
    section 6.3): the events of a day are no independent draws. Null where a window has fewer than two days with
    interest or no variation. A category is rising or falling from `STEADY_Z` standard errors.

    Rising pairs: items met together (viewed, clicked, kept, carted or bought by one user on one day) in a larger
    share of these baskets than before, by lift in the recent window, n_ab n / (n_a n_b), largest first. A pair
    stands with the category of either item.
    """
    recent = _window(series, day, segment, first=0, length=RECENT_DAYS)
    reference = _window(series, day, segment, first=RECENT_DAYS, length=REFERENCE_DAYS)
    codes = CategoryCodes(recent["category"], reference["category"])
    if len(codes) == 0:
        return SEGMENT_SHIFTS.empty()
    before, error_before = _share_and_error(reference, codes)
    after, error_after = _share_and_error(recent, codes)
    error = np.sqrt(error_before**2 + error_after**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        z_score = np.where(error > 1e-12, (after - before) / error, np.nan)
    direction = np.where(z_score >= STEADY_Z, "rising", np.where(z_score <= -STEADY_Z, "falling", "steady"))
    interested = recent.filter(pc.greater(recent["score"], 0))
    users = interested.group_by(["category", "user_id"]).aggregate([])
    pairs = rising_pairs(
        _window(events, day, segment, first=0, length=RECENT_DAYS),
        _window(events, day, segment, first=RECENT_DAYS, length=REFERENCE_DAYS),
    )
    return SEGMENT_SHIFTS.conform(
        pa.table(
            {
                "day": pa.repeat(pa.scalar(day, pa.date32()), len(codes)),
                "segment": pa.repeat(pa.scalar(segment), len(codes)),
                "category": codes.names,
                "share_before": pa.array(np.clip(before, 0.0, 1.0)),
                "share_after": pa.array(np.clip(after, 0.0, 1.0)),
                "z_score": pa.array(z_score, from_pandas=True),
                "direction": pa.array(direction.tolist()),
                "n_users": pa.array(np.bincount(codes.encode(users["category"]), minlength=len(codes))),
                "rising_pairs": pa.array(
                    [pairs.get(name, []) for name in codes.names.to_pylist()],
                    type=SEGMENT_SHIFTS.column("rising_pairs").type,
                ),
            }
        )
    )


def rising_pairs(recent: pa.Table, reference: pa.Table) -> dict[str, list[dict[str, str | float]]]:
    """Per category the pairs of items met together more often than before, at most `PAIRS_LISTED`.

    recent, reference: `clean_events` of either window.
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


def _window(table: pa.Table, day: date, segment: str, *, first: int, length: int) -> pa.Table:
    """Rows of the segment on the `length` days that end `first` days before `day`."""
    last_day = day - timedelta(days=first)
    inside = pc.and_(
        pc.greater(table["day"], pa.scalar(last_day - timedelta(days=length), pa.date32())),
        pc.less_equal(table["day"], pa.scalar(last_day, pa.date32())),
    )
    return table.filter(pc.and_(inside, pc.equal(table["segment"], segment)))


def _share_and_error(series: pa.Table, codes: CategoryCodes) -> tuple[Float64Array, Float64Array]:
    """Score share [category] of a window and its standard error, nan with fewer than two days of interest."""
    series = series.sort_by([("day", "ascending"), ("user_id", "ascending"), ("category", "ascending")])
    days, day = np.unique(series["day"].cast(pa.int32()).to_numpy(), return_inverse=True)
    cell: Int64Array = day * len(codes) + codes.encode(series["category"])
    mass = sum_by(cell, series["score"].to_numpy(), len(days) * len(codes)).reshape(len(days), len(codes))
    mass = mass[mass.sum(axis=1) > 0]
    total = mass.sum()
    if total == 0:
        return np.zeros(len(codes)), np.full(len(codes), np.nan)
    share = mass.sum(axis=0) / total
    n_days = len(mass)
    if n_days < 2:
        return share, np.full(len(codes), np.nan)
    residual = mass - share * mass.sum(axis=1, keepdims=True)
    return share, np.sqrt(n_days / (n_days - 1) * (residual**2).sum(axis=0)) / total


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
    known = baskets.filter(pc.is_in(baskets["item_id"], value_set=items)).sort_by(
        [("day", "ascending"), ("category", "ascending")]
    )
    return dict(zip(known["item_id"].to_pylist(), known["category"].to_pylist(), strict=True))
