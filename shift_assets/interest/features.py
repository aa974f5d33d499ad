"""Features of users and items over a look-back window of calendar days, for many days and segments at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.interest import ITEM_FEATURES, NORMALISED_FEATURES, USER_FEATURES
from shift_assets.interest.embeddings import TextEmbedder
from shift_assets.interest.lookback import column_days, day_numbers, encode, expand, groups, median, mid_rank, total
from shift_assets.interest.series import local_time
from shift_assets.settings.root import FeatureSettings

POPULARITY_DAYS = 7
"""A week, so that every weekday counts once."""

_ATTRIBUTES_TYPE = USER_FEATURES.column("attributes").type


def user_features(
    series: pa.Table,
    events: pa.Table,
    days: Sequence[date],
    settings: FeatureSettings,
    *,
    timezone: str = "UTC",
    attributes: pa.Table | None = None,
) -> pa.Table:
    """`user_features` of every user with an event in the window of each of the `days`.

    series, events: `interest_series` and `clean_events` of the `settings.look_back_days` days up to each day, any
    segments, rows in any order; rows of other days are not looked at. attributes: one row per user, `user_id` and
    one column per profile attribute; nulls are left out.

    Entropy is that of the user's events over categories, in bits. Price level is the mean, over the user's events,
    of the item's price rank (0 cheapest, 1 dearest, by median price in the window) among its category's items in
    the segment; null where no item met has a price. Missing values are imputed by the segment's median of that
    day (0 where nobody has one) and normalised to z-scores over the segment (0 where all are equal).
    """
    requested = day_numbers(days)
    series = series.sort_by([(name, "ascending") for name in ("day", "segment", "user_id", "category")])
    segment, segment_names = encode(series["segment"])
    user, user_names = encode(series["user_id"])
    category, _ = encode(series["category"])
    row_day = column_days(series["day"])
    row, at = expand(row_day, requested, settings.look_back_days)
    (out_at, out_segment, out_user), out = groups(at, segment[row], user[row])
    n_out = len(out_at)
    counts = np.stack(
        [total(out, series[f"n_{behavior}"].to_numpy()[row].astype(np.float64), n_out) for behavior in BEHAVIORS],
        axis=1,
    ).reshape(n_out, len(BEHAVIORS))
    frequency = counts.sum(axis=1)
    newest = np.zeros(n_out, dtype=np.int64)
    np.maximum.at(newest, out, row_day[row])
    (active_out, _), _ = groups(out, row_day[row] - row_day.min(initial=0))
    row_events = np.asarray(np.sum([series[f"n_{b}"].to_numpy() for b in BEHAVIORS], axis=0), dtype=np.float64)

    locator = _Locator(requested, segment_names, user_names, (out_at, out_segment, out_user))
    hours, weekdays = _clock_profiles(events, locator, settings.look_back_days, timezone)
    features: dict[str, Float64Array] = {
        "recency_days": (requested[out_at] - newest).astype(np.float64),
        "frequency": frequency,
        "monetary": total(out, series["amount"].to_numpy()[row], n_out),
        "active_days": np.bincount(active_out, minlength=n_out).astype(np.float64),
        "entropy_bits": _entropy(out, category[row], row_events[row], n_out),
        "price_level": _price_level(events, locator, settings.look_back_days),
    }
    stratum = out_at * max(len(segment_names), 1) + out_segment
    columns: dict[str, pa.Array] = {
        "day": pa.array(requested[out_at].astype(np.int32)).cast(pa.date32()),
        "segment": segment_names.take(pa.array(out_segment)),
        "user_id": user_names.take(pa.array(out_user)),
        **{name: pa.array(value, from_pandas=True) for name, value in features.items()},
        **{f"rate_{b}": pa.array(counts[:, i] / frequency) for i, b in enumerate(BEHAVIORS)},
        "hour_profile": _lists(hours),
        "weekday_profile": _lists(weekdays),
        "attributes": _attributes(attributes, user_names).take(pa.array(out_user)),
    }
    for name in NORMALISED_FEATURES:
        imputed, normalised = _impute_and_normalise(features[name], stratum)
        columns[f"{name}_imputed"] = pa.array(imputed)
        columns[f"{name}_normalised"] = pa.array(normalised)
    return USER_FEATURES.conform(pa.table(columns))


def item_features(events: pa.Table, days: Sequence[date], settings: FeatureSettings, seed: int = 0) -> pa.Table:
    """`item_features` of every item met in the window of each of the `days`, per segment.

    events: `clean_events` of the `settings.look_back_days` days up to each day, any segments, rows in any order.
    Category is that of the item's newest event. The text is the one delivered most often with the item (reviews
    are no item text). Embeddings are fitted per day and segment, so that a partition can be rebuilt alone.
    """
    requested = day_numbers(days)
    window = _Window(events, requested, settings.look_back_days)
    prices = _median_prices(window)
    popularity = _users_in_week(window, lag_days=0)
    before = _users_in_week(window, lag_days=POPULARITY_DAYS)
    rating = window.events["rating"].to_numpy()[window.row]
    rated = ~np.isnan(rating)
    with np.errstate(invalid="ignore"):
        mean_rating = total(window.out[rated], rating[rated], window.n_out) / np.bincount(
            window.out[rated], minlength=window.n_out
        )
    columns = {
        "day": pa.array(requested[window.out_at].astype(np.int32)).cast(pa.date32()),
        "segment": window.segment_names.take(pa.array(window.out_segment)),
        "item_id": window.item_names.take(pa.array(window.out_item)),
        "category": window.category_names.take(pa.array(window.out_category)),
        "price": pa.array(prices, from_pandas=True),
        "popularity": pa.array(popularity),
        "trend": pa.array(np.log2((popularity + 1) / (before + 1))),
        "rating_mean": pa.array(mean_rating, from_pandas=True),
        "embedding": _embeddings(window, settings.embedding_dimensions, seed),
    }
    return ITEM_FEATURES.conform(pa.table(columns))


class _Window:
    """Events of every window, grouped by day, segment and item."""

    def __init__(self, events: pa.Table, requested: Int64Array, look_back_days: int) -> None:
        self.events = events.sort_by([("event_ts", "ascending"), ("event_id", "ascending")])
        self.requested = requested
        self.segment, self.segment_names = encode(self.events["segment"])
        self.item, self.item_names = encode(self.events["item_id"])
        self.category, self.category_names = encode(self.events["category"])
        self.day = column_days(self.events["day"])
        self.row, self.at = expand(self.day, requested, look_back_days)
        keys, self.out = groups(self.at, self.segment[self.row], self.item[self.row])
        self.out_at, self.out_segment, self.out_item = keys
        self.n_out = len(self.out_at)
        self.out_category = np.zeros(self.n_out, dtype=np.int64)
        self.out_category[self.out] = self.category[self.row]  # rows are in time order: the newest is written last


class _Locator:
    """Finds the output row of a (day, segment, user)."""

    def __init__(
        self,
        requested: Int64Array,
        segments: pa.Array,
        users: pa.Array,
        keys: tuple[Int64Array, Int64Array, Int64Array],
    ) -> None:
        self.requested, self.segments, self.users = requested, segments, users
        self.n_out = len(keys[0])
        self._sizes = (max(len(requested), 1), max(len(segments), 1), max(len(users), 1))
        self._known = np.ravel_multi_index(keys, self._sizes)

    def find(self, events: pa.Table, row: Int64Array, at: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Of the pairs (row of `events`, position of the day): those with an output row, and that row."""
        segment = pc.fill_null(pc.index_in(events["segment"], value_set=self.segments), -1).to_numpy()[row]
        user = pc.fill_null(pc.index_in(events["user_id"], value_set=self.users), -1).to_numpy()[row]
        known = np.flatnonzero((segment >= 0) & (user >= 0))
        key = np.ravel_multi_index((at[known], segment[known], user[known]), self._sizes)
        position = np.minimum(np.searchsorted(self._known, key), max(self.n_out - 1, 0))
        found = self._known[position] == key if self.n_out else np.zeros(0, dtype=bool)
        return known[found], position[found].astype(np.int64)


def _clock_profiles(
    events: pa.Table, locator: _Locator, look_back_days: int, timezone: str
) -> tuple[Float64Array, Float64Array]:
    """Shares of a user's events by local hour [out, 24] and weekday from Monday [out, 7]."""
    local = local_time(events["event_ts"], timezone)
    hour = pc.hour(local).to_numpy()
    weekday = pc.day_of_week(local).to_numpy()
    row, at = expand(column_days(events["day"]), locator.requested, look_back_days)
    pair, out = locator.find(events, row, at)
    row = row[pair]
    profiles = []
    for value, size in ((hour, 24), (weekday, 7)):
        counts = np.bincount(out * size + value[row], minlength=locator.n_out * size).reshape(locator.n_out, size)
        profiles.append(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    return profiles[0], profiles[1]


def _median_prices(window: _Window) -> Float64Array:
    """Median price [out] of every item and window; nan where it was never priced."""
    price = window.events["price"].to_numpy()[window.row]
    priced = ~np.isnan(price)
    return median(window.out[priced], price[priced], window.n_out)


def _price_level(events: pa.Table, locator: _Locator, look_back_days: int) -> Float64Array:
    """Mean price rank [out] of the items that a user met; nan without a price."""
    window = _Window(events, locator.requested, look_back_days)
    prices = _median_prices(window)
    priced = np.flatnonzero(~np.isnan(prices))
    _, price_group = groups(window.out_at[priced], window.out_segment[priced], window.out_category[priced])
    rank = np.full(window.n_out, np.nan)
    rank[priced] = mid_rank(price_group, prices[priced], int(price_group.max(initial=-1)) + 1)
    pair, out = locator.find(window.events, window.row, window.at)
    met = rank[window.out[pair]]
    # Sums of ranks must not depend on how many windows an event is expanded to, hence the fixed order of rows.
    known = ~np.isnan(met)
    with np.errstate(invalid="ignore"):
        return np.asarray(
            total(out[known], met[known], locator.n_out) / np.bincount(out[known], minlength=locator.n_out)
        )


def _users_in_week(window: _Window, lag_days: int) -> Float64Array:
    """Distinct users [out] of an item in the seven days that end `lag_days` before the window's day."""
    user, _ = encode(window.events["user_id"])
    row, at = expand(window.day + lag_days, window.requested, POPULARITY_DAYS)
    (seen_at, seen_segment, seen_item, _), _ = groups(at, window.segment[row], window.item[row], user[row])
    sizes = (max(len(window.requested), 1), max(len(window.segment_names), 1), max(len(window.item_names), 1))
    key = np.ravel_multi_index((seen_at, seen_segment, seen_item), sizes)
    known = np.ravel_multi_index((window.out_at, window.out_segment, window.out_item), sizes)
    position = np.searchsorted(known, key)
    inside = position < window.n_out
    position, key = position[inside], key[inside]
    return np.bincount(position[known[position] == key], minlength=window.n_out).astype(np.float64)


def _embeddings(window: _Window, dimensions: int, seed: int) -> pa.Array:
    """Text embeddings [out] as lists; empty without a text."""
    has_text = pc.and_(window.events["text"].is_valid(), pc.not_equal(window.events["behavior"], "review"))
    text, texts = encode(pc.if_else(has_text, window.events["text"], ""))
    has_item_text = (
        texts.take(pa.array(text[window.row])).to_numpy(zero_copy_only=False) != "" if len(texts) else window.row > 0
    )
    (out, candidate), combination = groups(window.out[has_item_text], text[window.row[has_item_text]])
    count = np.bincount(combination, minlength=len(out))
    most_frequent = np.lexsort((candidate, -count, out))
    items, first = np.unique(out[most_frequent], return_index=True)
    chosen = candidate[most_frequent][first]
    vectors = np.zeros((window.n_out, dimensions), dtype=np.float32)
    embedder = TextEmbedder(texts.to_pylist())
    _, stratum = groups(window.out_at[items], window.out_segment[items])
    for part in range(int(stratum.max(initial=-1)) + 1):
        members = stratum == part
        vectors[items[members]] = embedder.embed(chosen[members], dimensions, seed)
    has_vector = np.linalg.norm(vectors, axis=1) > 0.5
    start = np.concatenate([[0], np.cumsum(has_vector) * dimensions]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(start), pa.array(vectors[has_vector].ravel()))


def _entropy(out: Int64Array, category: Int64Array, events: Float64Array, n_out: int) -> Float64Array:
    """Shannon entropy [out] of events over categories, bits."""
    (cell_out, _), cell = groups(out, category)
    mass = total(cell, events, len(cell_out))
    share = mass / total(cell_out, mass, n_out)[cell_out]
    return np.maximum(total(cell_out, -share * np.log2(share), n_out), 0.0)


def _impute_and_normalise(value: Float64Array, stratum: Int64Array) -> tuple[Float64Array, Float64Array]:
    """The stratum's median for nan (0 where all are), and z-scores within the stratum (0 where all are equal)."""
    n_strata = int(stratum.max(initial=-1)) + 1
    known = ~np.isnan(value)
    middle = np.nan_to_num(median(stratum[known], value[known], n_strata))
    imputed = np.where(known, value, middle[stratum])
    count = np.maximum(np.bincount(stratum, minlength=n_strata), 1)
    centred = imputed - (total(stratum, imputed, n_strata) / count)[stratum]
    deviation = np.sqrt(total(stratum, centred**2, n_strata) / count)[stratum]
    # Values that are equal deviate by rounding alone.
    varied = deviation > 1e-9 * np.maximum(np.abs(imputed), 1.0)
    return imputed, np.divide(centred, deviation, out=np.zeros_like(centred), where=varied)


def _attributes(attributes: pa.Table | None, user_names: pa.Array) -> pa.Array:
    """Attribute lists of the users, in the order of `user_names`; empty for a user without any."""
    known: dict[str, list[dict[str, str]]] = {}
    for row in attributes.to_pylist() if attributes is not None else []:
        named = [{"name": name, "value": str(value)} for name, value in row.items() if value is not None]
        known[row["user_id"]] = [pair for pair in named if pair["name"] not in ("user_id", "day", "segment")]
    return pa.array([known.get(user, []) for user in user_names.to_pylist()], type=_ATTRIBUTES_TYPE)


def _lists(rows: Float64Array) -> pa.Array:
    """A matrix as an array of lists, one per row."""
    start = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(start), pa.array(np.ascontiguousarray(rows).ravel()))
