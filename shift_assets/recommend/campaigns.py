"""Campaign views of a day's recommendations: whom to address about a risen category, and with which items.

Each pair of user and category has a score, the expected share of the category in the user's interest:

- for a category that rose in the user's open alert, confidence · share after + (1 - confidence) · share before, with
  confidence a half where the alert has none;
- for the others the category's share of the user's recommendations, ranks weighted by 1 / log2(1 + rank).

The suggested items are the user's own recommendations of the category, best first; a user without any gets the items
of the category that are recommended most in the segment.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array, Int64Array, offsets, ragged_index
from shift_assets.contracts.recommendations import AD_SLOTS, CAMPAIGN_AUDIENCES
from shift_assets.contracts.table import Table
from shift_assets.shift.alerts.ranked_alerts import open_by_magnitude

MINIMUM_SCORE = 0.2
"""Score from which users without an alert about a category join its audience."""
CREATIVES = 5
"""Items suggested, at most."""
SLOTS = 3
"""Categories per user for which an advertisement is chosen."""


class _Pairs(NamedTuple):
    """Pairs of user and category, [pair] each, in order of user, then category.

    Attributes:
        user: Code of the user.
        category: Code of the category.
        score: Expected share of the category in the user's interest.
        gain: Share that the category gained in the user's open alert, nan without one.
        alert_row: Row of that alert, -1 without one.
        first: Start of the suggested items of the pair in `items`.
        length: Number of suggested items.
        items: Item codes; those of a pair best first.
    """

    user: Int64Array
    category: Int64Array
    score: Float64Array
    gain: Float64Array
    alert_row: Int64Array
    first: Int64Array
    length: Int64Array
    items: Int64Array


class _Recommended(NamedTuple):
    """Recommended items that have a category, [row] each; `key` is user code · number of categories + category code."""

    key: Int64Array
    item: Int64Array
    rank: Int64Array

    @property
    def weight(self) -> Float64Array:
        """Weight of the rank."""
        return np.asarray(1 / np.log2(1 + self.rank))


class _DayPairs(NamedTuple):
    """Pairs of one (day, segment) with the names of their codes."""

    pairs: _Pairs
    users: pa.Array
    categories: pa.Array
    items: pa.Array
    alert_ids: pa.Array
    day: date
    segment: str


def campaign_audiences(
    recommendations: pa.Table, alerts: pa.Table, item_features: pa.Table, day: date, segment: str
) -> pa.Table:
    """For each category that rose in an open alert of the segment, the users to address, best first.

    They are the users with an alert about it and those with a score of `MINIMUM_SCORE` or more. The order of the input
    rows does not matter.

    Args:
        recommendations: Rows of the day and segment.
        alerts: Rows of `shift_alerts` of the day and segment.
        item_features: Columns item_id and category; recommended items without a category are left out.
        day: Day of the rows.
        segment: Segment of the rows.

    Returns:
        Rows of `campaign_audiences`.
    """
    found = _pairs_of(recommendations, alerts, item_features, day, segment)
    pairs = found.pairs
    risen = np.unique(pairs.category[pairs.alert_row >= 0])
    chosen = np.flatnonzero(np.isin(pairs.category, risen) & ((pairs.alert_row >= 0) | (pairs.score >= MINIMUM_SCORE)))
    best_first = chosen[np.lexsort((pairs.user[chosen], -pairs.score[chosen], pairs.category[chosen]))]
    position = _rank_within(pairs.category[best_first])
    return _table(CAMPAIGN_AUDIENCES, found, best_first, {"place": pa.array(position)}, by_user=False)


def ad_slots(recommendations: pa.Table, alerts: pa.Table, item_features: pa.Table, day: date, segment: str) -> pa.Table:
    """The `SLOTS` categories of highest score of each user, best first, as rows of `ad_slots`.

    Args:
        recommendations: Rows of the day and segment.
        alerts: Rows of `shift_alerts` of the day and segment.
        item_features: Columns item_id and category; recommended items without a category are left out.
        day: Day of the rows.
        segment: Segment of the rows.
    """
    found = _pairs_of(recommendations, alerts, item_features, day, segment)
    pairs = found.pairs
    best_first = np.lexsort((pairs.category, -pairs.score, pairs.user))
    slot = _rank_within(pairs.user[best_first])
    shown = slot <= SLOTS
    return _table(AD_SLOTS, found, best_first[shown], {"slot": pa.array(slot[shown])}, by_user=True)


def _pairs_of(
    recommendations: pa.Table, alerts: pa.Table, item_features: pa.Table, day: date, segment: str
) -> _DayPairs:
    recommended = _with_category(recommendations, item_features)
    opened = open_by_magnitude(alerts)
    rising = _rising_in_open_alerts(opened)
    users = _names(recommended["user_id"], rising["user_id"])
    categories = _names(recommended["category"], rising["category"])
    items = _names(recommended["item_id"])
    width = max(len(categories), 1)
    own = _Recommended(
        _codes(recommended["user_id"], users) * width + _codes(recommended["category"], categories),
        _codes(recommended["item_id"], items),
        recommended["rank"].to_numpy().astype(np.int64),
    )
    rising_key = _codes(rising["user_id"], users) * width + _codes(rising["category"], categories)
    keys = np.unique(np.concatenate([own.key, rising_key]))
    total = np.bincount(own.key // width, own.weight, minlength=len(users))[keys // width]
    score = np.bincount(np.searchsorted(keys, own.key), own.weight, minlength=len(keys)) / np.where(total > 0, total, 1)
    gain, alert_row = np.full(len(keys), np.nan), np.full(len(keys), -1)
    at = np.searchsorted(keys, rising_key)  # of several alerts the one of largest magnitude is the last, and remains
    for values, name in ((score, "expected"), (gain, "gain"), (alert_row, "row")):
        values[at] = rising[name].to_numpy()
    suggested = _suggested_items(own, keys, width=width, n_items=len(items))
    pairs = _Pairs(keys // width, keys % width, score, gain, alert_row, *suggested)
    return _DayPairs(pairs, users, categories, items, opened["alert_id"].combine_chunks(), day, segment)


def _suggested_items(
    own: _Recommended, keys: Int64Array, *, width: int, n_items: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """First position and number [pair] of the suggested items, and the item codes that they index."""
    order = np.lexsort((own.rank, own.key))
    count = np.bincount(np.searchsorted(keys, own.key), minlength=len(keys))
    popular, popular_first, popular_count = _most_recommended(own.key % width, own.item, own.weight, (width, n_items))
    none = count == 0
    first = np.where(none, len(order) + popular_first[keys % width], np.cumsum(count) - count)
    length = np.minimum(np.where(none, popular_count[keys % width], count), CREATIVES)
    return first, length, np.concatenate([own.item[order], popular])


def _with_category(recommendations: pa.Table, item_features: pa.Table) -> pa.Table:
    """user_id, item_id, rank and category of every recommendation whose item has a category."""
    found = pc.index_in(recommendations["item_id"], value_set=item_features["item_id"].combine_chunks())
    rows = recommendations.select(["user_id", "item_id", "rank"])
    return rows.append_column("category", item_features["category"].take(found)).filter(pc.is_valid(found))


def _rising_in_open_alerts(opened: pa.Table) -> dict[str, pa.Array]:
    """What rose in open alerts, [change]: user_id, category, row of the alert, gained share, and expected share."""
    found = [
        (
            alert["user_id"],
            change["category"],
            row,
            change["share_after"] - change["share_before"],
            _expected_share(alert["confidence"], change["share_before"], change["share_after"]),
        )
        for row, alert in enumerate(opened.select(["user_id", "confidence", "rising"]).to_pylist())
        for change in alert["rising"]
    ]
    kinds = (pa.string(), pa.string(), pa.int64(), pa.float64(), pa.float64())
    columns = list(zip(*found, strict=True)) or [()] * len(kinds)
    names = ("user_id", "category", "row", "gain", "expected")
    return {name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)}


def _expected_share(confidence: float | None, before: float, after: float) -> float:
    probability = 0.5 if confidence is None else confidence
    return probability * after + (1 - probability) * before


def _most_recommended(
    categories: Int64Array, items: Int64Array, weight: Float64Array, shape: tuple[int, int]
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Items by category, those of most weight in all slates first; start and number [category] of each category's."""
    key, position = np.unique(categories * max(shape[1], 1) + items, return_inverse=True)
    total = np.bincount(position, weight, minlength=len(key))
    category = key // max(shape[1], 1)
    order = np.lexsort((key, -total, category))
    count = np.bincount(category, minlength=shape[0])
    return (key % max(shape[1], 1))[order], np.cumsum(count) - count, count


def _rank_within(groups: Int64Array) -> Int64Array:
    """1, 2, … within each run of equal `groups`."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(np.append(starts, len(groups)))
    return np.arange(len(groups)) - np.repeat(starts, sizes) + 1


def _table(
    table: Table, found: _DayPairs, chosen: Int64Array, positions: dict[str, pa.Array], *, by_user: bool
) -> pa.Table:
    pairs = found.pairs
    length = pairs.length[chosen]
    items = found.items.take(pa.array(pairs.items[ragged_index(pairs.first[chosen], length)]))
    gain, alert_row = pairs.gain[chosen], pairs.alert_row[chosen]
    columns = {
        "day": pa.repeat(pa.scalar(found.day, pa.date32()), len(chosen)),
        "segment": pa.repeat(found.segment, len(chosen)),
        "user_id": found.users.take(pa.array(pairs.user[chosen])),
        "category": found.categories.take(pa.array(pairs.category[chosen])),
        **positions,
        "score": pa.array(pairs.score[chosen]),
        "gain": pa.array(gain, mask=np.isnan(gain)),
        "alert_id": found.alert_ids.take(pa.array(alert_row, mask=alert_row < 0)),
        "items": pa.ListArray.from_arrays(pa.array(offsets(length), pa.int32()), items),
    }
    rows = table.conform(pa.table(columns))
    first, second = ("user_id", "slot") if by_user else ("category", "place")
    return rows.sort_by([(first, "ascending"), (second, "ascending")])


def _names(*columns: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Distinct names, sorted."""
    parts = [pc.unique(column) for column in columns]
    names = pc.unique(pa.concat_arrays([part.cast(pa.string()) for part in parts]))
    return names.take(pc.sort_indices(names))


def _codes(names: pa.ChunkedArray | pa.Array, among: pa.Array) -> Int64Array:
    return np.asarray(pc.index_in(names, value_set=among).to_numpy(zero_copy_only=False), dtype=np.int64)
