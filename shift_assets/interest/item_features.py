"""Features of items over a look-back window of calendar days, for many days and segments at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, offsets, sum_by
from shift_assets.contracts.interest import ITEM_FEATURES
from shift_assets.interest.embeddings import TextEmbedder
from shift_assets.interest.item_windows import ItemWindows
from shift_assets.interest.lookback import day_numbers, expand, groups
from shift_assets.settings.root import FeatureSettings

POPULARITY_DAYS = 7
"""A week, so that every weekday counts once."""

_log = logging.getLogger(__name__)


def item_features(events: pa.Table, days: Sequence[date], settings: FeatureSettings, seed: int = 0) -> pa.Table:
    """Return `item_features` of every item with an event in the window of each of the `days`, per segment.

    The category is that of the item's newest event; the text is the most frequent one of its events (reviews are not
    item texts). Embeddings are fitted per day and segment, so that a partition can be rebuilt alone.

    Args:
        events: `clean_events` of the `settings.look_back_days` days up to each day, any segments, rows in any order.
        days: days to compute, in any order.
        settings: length of the window and dimensions of the embedding.
        seed: seed of the embedding.
    """
    begin = time.perf_counter()
    requested = day_numbers(days)
    windows = ItemWindows(events, requested, settings.look_back_days)
    popularity = _users_in_week(windows, lag_days=0)
    before = _users_in_week(windows, lag_days=POPULARITY_DAYS)
    rating = windows.events["rating"].to_numpy()[windows.row]
    rated = ~np.isnan(rating)
    with np.errstate(invalid="ignore"):
        mean_rating = sum_by(windows.out[rated], rating[rated], windows.n_out) / np.bincount(
            windows.out[rated], minlength=windows.n_out
        )
    columns = {
        "day": pa.array(requested[windows.out_at].astype(np.int32)).cast(pa.date32()),
        "segment": windows.segments.decode(windows.out_segment),
        "item_id": windows.items.decode(windows.out_item),
        "category": windows.categories.decode(windows.out_category),
        "price": pa.array(windows.median_prices(), from_pandas=True),
        "popularity": pa.array(popularity),
        "trend": pa.array(np.log2((popularity + 1) / (before + 1))),
        "rating_mean": pa.array(mean_rating, from_pandas=True),
        "embedding": _embeddings(windows, settings.embedding_dimensions, seed),
    }
    found = ITEM_FEATURES.conform(pa.table(columns))
    _log.info("item features: %d rows of %d days in %.1f s", len(found), len(requested), time.perf_counter() - begin)
    return found


def _users_in_week(windows: ItemWindows, lag_days: int) -> Float64Array:
    """Distinct users [out] of an item in the seven days that end `lag_days` before the window's day."""
    users = CategoryCodes(windows.events["user_id"]).encode(windows.events["user_id"])
    row, at = expand(windows.day + lag_days, windows.requested, POPULARITY_DAYS)
    (seen_at, seen_segment, seen_item, _), _ = groups(at, windows.segment[row], windows.item[row], users[row])
    sizes = (max(len(windows.requested), 1), max(len(windows.segments), 1), max(len(windows.items), 1))
    key = np.ravel_multi_index((seen_at, seen_segment, seen_item), sizes)
    known = np.ravel_multi_index((windows.out_at, windows.out_segment, windows.out_item), sizes)
    position = np.searchsorted(known, key)
    inside = position < windows.n_out
    position, key = position[inside], key[inside]
    return np.bincount(position[known[position] == key], minlength=windows.n_out).astype(np.float64)


def _embeddings(windows: ItemWindows, dimensions: int, seed: int) -> pa.Array:
    """Text embeddings [out] as lists; empty where an item has no text."""
    has_text = pc.and_(windows.events["text"].is_valid(), pc.not_equal(windows.events["behavior"], "review"))
    column = pc.if_else(has_text, windows.events["text"], "")
    texts = CategoryCodes(column)
    text = texts.encode(column)[windows.row]
    has_item_text = (np.array(texts.names.to_pylist(), dtype=object) != "")[text]
    (out, candidate), combination = groups(windows.out[has_item_text], text[has_item_text])
    count = np.bincount(combination, minlength=len(out))
    most_frequent = np.lexsort((candidate, -count, out))
    items, first = np.unique(out[most_frequent], return_index=True)
    chosen = candidate[most_frequent][first]
    vectors = np.zeros((windows.n_out, dimensions), dtype=np.float32)
    embedder = TextEmbedder(texts.names.to_pylist())
    _, stratum = groups(windows.out_at[items], windows.out_segment[items])
    for part in range(int(stratum.max(initial=-1)) + 1):
        members = stratum == part
        vectors[items[members]] = embedder.embed(chosen[members], dimensions, seed)
    has_vector = np.linalg.norm(vectors, axis=1) > 0.5
    start = offsets(has_vector * dimensions).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(start), pa.array(vectors[has_vector].ravel()))
