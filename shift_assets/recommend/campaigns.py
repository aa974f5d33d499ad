"""The lists of a day seen from the campaign's side: whom to address about a risen category, and with which items.

Each pair of user and category has a score, the share of the user's interest that the category is expected to have:

- for a category that rose in the user's open alarm, the share after, as far as the alarm is believed, else the one
  before: confidence · share after + (1 - confidence) · share before, with even odds where there is no confidence;
- for the others the category's share of the user's list, places weighed by 1 / log2(1 + rank).

What is suggested are the user's own listed items of the category, best first; a user who has none is shown the
items of the category that the segment's lists hold most.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.recommendations import AD_SLOTS, CAMPAIGN_AUDIENCES
from shift_assets.contracts.table import Table

MINIMUM_SCORE = 0.2
"""Users without an alarm about a category join its audience from a fifth of their interest on."""
CREATIVES = 5
"""Items suggested at most."""
SLOTS = 3
"""Categories per user for which an advertisement is chosen."""


class _Pairs(NamedTuple):
    """Pairs of user and category, [pair], in order of user, then category; `items` holds the suggested item codes.

    The items of a pair are `items[first : first + length]`, best first. `alarm` is the row of the alert that the
    category rose in, -1 for none; `gain` the share that it gained there, nan for none.
    """

    user: Int64Array
    category: Int64Array
    score: Float64Array
    gain: Float64Array
    alert_row: Int64Array
    first: Int64Array
    length: Int64Array
    items: Int64Array


class _DayPairs(NamedTuple):
    """Pairs of one (day, segment) with the names behind their codes."""

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
    """Rows of `campaign_audiences` of one (day, segment): for each risen category the users to address, best first.

    Risen is what rose in an open alarm of the segment. Its users are those alarmed about it and those of whose
    interest it has `MINIMUM_SCORE` or more. `item_features` tell the items' categories; listed items without one are
    left out. The order of the rows given does not matter.
    """
    found = _pairs_of(recommendations, alerts, item_features, day, segment)
    pairs = found.pairs
    risen = np.unique(pairs.category[pairs.alert_row >= 0])
    chosen = np.flatnonzero(np.isin(pairs.category, risen) & ((pairs.alert_row >= 0) | (pairs.score >= MINIMUM_SCORE)))
    best_first = chosen[np.lexsort((pairs.user[chosen], -pairs.score[chosen], pairs.category[chosen]))]
    position = _rank_within(pairs.category[best_first])
    return _table(CAMPAIGN_AUDIENCES, found, best_first, {"place": pa.array(position)}, by_user=False)


def ad_slots(recommendations: pa.Table, alerts: pa.Table, item_features: pa.Table, day: date, segment: str) -> pa.Table:
    """Rows of `ad_slots` of one (day, segment): per user the categories of highest score, best first.

    Input as of `campaign_audiences`.
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
    opened = alerts.filter(pc.field("status") != "closed").sort_by(
        [("magnitude", "ascending"), ("alert_id", "ascending")]
    )
    rising = _rising_in_open_alerts(opened)
    users = _names(recommended["user_id"], rising["user_id"])
    categories = _names(recommended["category"], rising["category"])
    items = _names(recommended["item_id"])
    width = max(len(categories), 1)
    own_key = _codes(recommended["user_id"], users) * width + _codes(recommended["category"], categories)
    item, rank = _codes(recommended["item_id"], items), recommended["rank"].to_numpy().astype(np.int64)
    weight = 1 / np.log2(1 + rank)
    moved_key = _codes(rising["user_id"], users) * width + _codes(rising["category"], categories)
    keys = np.unique(np.concatenate([own_key, moved_key]))

    position = np.searchsorted(keys, own_key)
    total = np.bincount(own_key // width, weight, minlength=len(users))[keys // width]
    score = np.bincount(position, weight, minlength=len(keys)) / np.where(total > 0, total, 1)
    gain, alert_row = np.full(len(keys), np.nan), np.full(len(keys), -1)
    moved = np.searchsorted(keys, moved_key)  # of several alarms the one of largest magnitude comes last, and stays
    for values, name in ((score, "expected"), (gain, "gain"), (alert_row, "row")):
        values[moved] = rising[name].to_numpy()

    order = np.lexsort((rank, own_key))
    count = np.bincount(position, minlength=len(keys))
    suggested, first = item[order], np.cumsum(count) - count
    popular, popular_first, popular_count = _most_recommended(own_key % width, item, weight, (width, len(items)))
    none = count == 0
    first = np.where(none, len(suggested) + popular_first[keys % width], first)
    count = np.minimum(np.where(none, popular_count[keys % width], count), CREATIVES)
    pairs = _Pairs(
        keys // width, keys % width, score, gain, alert_row, first, count, np.concatenate([suggested, popular])
    )
    return _DayPairs(pairs, users, categories, items, opened["alert_id"].combine_chunks(), day, segment)


def _with_category(recommendations: pa.Table, item_features: pa.Table) -> pa.Table:
    """user_id, item_id, rank and category of every place whose item has a category."""
    found = pc.index_in(recommendations["item_id"], value_set=item_features["item_id"].combine_chunks())
    rows = recommendations.select(["user_id", "item_id", "rank"])
    return rows.append_column("category", item_features["category"].take(found)).filter(pc.is_valid(found))


def _rising_in_open_alerts(opened: pa.Table) -> dict[str, pa.Array]:
    """What rose in open alarms, [move]: user_id, category, row of the alarm, gained share, and the share expected."""
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
    part = 0.5 if confidence is None else confidence
    return part * after + (1 - part) * before


def _most_recommended(
    category: Int64Array, item: Int64Array, weight: Float64Array, shape: tuple[int, int]
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Items in order of category and weight in all lists, and where each category's begin and how many they are."""
    key, position = np.unique(category * max(shape[1], 1) + item, return_inverse=True)
    total = np.bincount(position, weight, minlength=len(key))
    of = key // max(shape[1], 1)
    order = np.lexsort((key, -total, of))
    count = np.bincount(of, minlength=shape[0])
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
    counts = pairs.length[chosen]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = np.repeat(pairs.first[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
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
        "items": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), found.items.take(pa.array(pairs.items[flat]))),
    }
    rows = table.conform(pa.table(columns))
    first, second = ("user_id", "slot") if by_user else ("category", "place")
    return rows.sort_by([(first, "ascending"), (second, "ascending")])


def _names(*columns: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Distinct names in order."""
    parts = [pc.unique(column) for column in columns]
    names = pc.unique(pa.concat_arrays([part.cast(pa.string()) for part in parts]))
    return names.take(pc.sort_indices(names))


def _codes(names: pa.ChunkedArray | pa.Array, among: pa.Array) -> Int64Array:
    return np.asarray(pc.index_in(names, value_set=among).to_numpy(zero_copy_only=False), dtype=np.int64)
