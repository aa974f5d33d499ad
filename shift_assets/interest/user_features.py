"""Features of users over a look-back window of calendar days, for many days and segments at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, floats, sum_by
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.interest import NORMALISED_FEATURES, USER_FEATURES
from shift_assets.interest.item_windows import ItemWindows
from shift_assets.interest.lookback import column_days, day_numbers, expand, groups, median, mid_rank
from shift_assets.interest.series import local_time
from shift_assets.settings.root import FeatureSettings

_ATTRIBUTES_TYPE = USER_FEATURES.column("attributes").type

_log = logging.getLogger(__name__)


def user_features(
    series: pa.Table,
    events: pa.Table,
    days: Sequence[date],
    settings: FeatureSettings,
    *,
    timezone: str = "UTC",
    attributes: pa.Table | None = None,
) -> pa.Table:
    """Return `user_features` of every user with an event in the window of each of the `days`, per segment.

    Entropy is that of the user's events over categories, in bits. The price level is the mean, over the user's events,
    of the item's price rank (0 cheapest, 1 most expensive, by median price in the window) among its category's items
    in the segment; null where none of the items has a price. Missing values are imputed by the segment's median of
    that day (0 where nobody has one) and normalised to z-scores over the segment (0 where all are equal).

    Args:
        series: `interest_series` of the `settings.look_back_days` days up to each day, any segments, rows in any order.
        events: `clean_events` of the same days and segments.
        days: days to compute, in any order.
        settings: length of the window.
        timezone: zone of the shop, for the profiles by hour and weekday.
        attributes: one row per user, `user_id` and one column per profile attribute; nulls are left out.
    """
    begin = time.perf_counter()
    windows = _UserWindows(series, day_numbers(days), settings.look_back_days)
    counts = np.stack([windows.total(f"n_{behavior}") for behavior in BEHAVIORS], axis=1)
    features = _numeric_features(windows, events, counts)
    hours, weekdays = _clock_profiles(events, windows, timezone)
    columns: dict[str, pa.Array] = {
        "day": pa.array(windows.requested[windows.out_at].astype(np.int32)).cast(pa.date32()),
        "segment": windows.segments.decode(windows.out_segment),
        "user_id": windows.users.decode(windows.out_user),
        **{name: pa.array(value, from_pandas=True) for name, value in features.items()},
        **{f"rate_{b}": pa.array(counts[:, i] / features["frequency"]) for i, b in enumerate(BEHAVIORS)},
        "hour_profile": _lists(hours),
        "weekday_profile": _lists(weekdays),
        "attributes": _attributes(attributes, windows.users.names).take(pa.array(windows.out_user)),
    }
    stratum = windows.out_at * max(len(windows.segments), 1) + windows.out_segment
    for name in NORMALISED_FEATURES:
        imputed, normalised = _impute_and_normalise(features[name], stratum)
        columns[f"{name}_imputed"] = pa.array(imputed)
        columns[f"{name}_normalised"] = pa.array(normalised)
    found = USER_FEATURES.conform(pa.table(columns))
    n_days = len(windows.requested)
    _log.info("user features: %d rows of %d days in %.1f s", len(found), n_days, time.perf_counter() - begin)
    return found


class _UserWindows:
    """Rows of `interest_series` in every window; an output row is one day, segment and user.

    `row` and `out` are the series row and the output row of every (series row, window) pair; `out_at`, `out_segment`
    and `out_user` are day position and codes of every output row.
    """

    def __init__(self, series: pa.Table, requested: Int64Array, look_back_days: int) -> None:
        self.series = series.sort_by([(name, "ascending") for name in ("day", "segment", "user_id", "category")])
        self.requested, self.look_back_days = requested, look_back_days
        self.segments, self.users = CategoryCodes(self.series["segment"]), CategoryCodes(self.series["user_id"])
        self.row_day = column_days(self.series["day"])
        self.row, at = expand(self.row_day, requested, look_back_days)
        segment, user = self.segments.encode(self.series["segment"]), self.users.encode(self.series["user_id"])
        keys, self.out = groups(at, segment[self.row], user[self.row])
        self.out_at, self.out_segment, self.out_user = keys
        self.n_out = len(self.out_at)
        self._sizes = (max(len(requested), 1), max(len(self.segments), 1), max(len(self.users), 1))
        self._known = np.ravel_multi_index((self.out_at, self.out_segment, self.out_user), self._sizes)

    def total(self, column: str) -> Float64Array:
        """Sum of a column of the series over each window, [out]."""
        return sum_by(self.out, floats(self.series[column])[self.row], self.n_out)

    def find(self, events: pa.Table, row: Int64Array, at: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Of the pairs (row of `events`, position of the day): those with an output row, and that output row."""
        segment = self.segments.encode(events["segment"])[row]
        user = self.users.encode(events["user_id"])[row]
        known = np.flatnonzero((segment >= 0) & (user >= 0))
        key = np.ravel_multi_index((at[known], segment[known], user[known]), self._sizes)
        position = np.minimum(np.searchsorted(self._known, key), max(self.n_out - 1, 0))
        found = self._known[position] == key if self.n_out else np.zeros(0, dtype=bool)
        return known[found], position[found].astype(np.int64)


def _numeric_features(windows: _UserWindows, events: pa.Table, counts: Float64Array) -> dict[str, Float64Array]:
    """Numeric features [out] by name; nan where unknown. `counts` [out, behavior]."""
    row, out, n_out = windows.row, windows.out, windows.n_out
    newest = np.zeros(n_out, dtype=np.int64)
    np.maximum.at(newest, out, windows.row_day[row])
    (active_out, _), _ = groups(out, windows.row_day[row] - windows.row_day.min(initial=0))
    series = windows.series
    category = CategoryCodes(series["category"]).encode(series["category"])
    row_events = np.asarray(np.sum([series[f"n_{b}"].to_numpy() for b in BEHAVIORS], axis=0), dtype=np.float64)
    return {
        "recency_days": (windows.requested[windows.out_at] - newest).astype(np.float64),
        "frequency": counts.sum(axis=1),
        "monetary": windows.total("amount"),
        "active_days": np.bincount(active_out, minlength=n_out).astype(np.float64),
        "entropy_bits": _entropy(out, category[row], row_events[row], n_out),
        "price_level": _price_level(events, windows),
    }


def _clock_profiles(events: pa.Table, windows: _UserWindows, timezone: str) -> tuple[Float64Array, Float64Array]:
    """Shares of a user's events by local hour [out, 24] and weekday from Monday [out, 7]."""
    local = local_time(events["event_ts"], timezone)
    hour = pc.hour(local).to_numpy()
    weekday = pc.day_of_week(local).to_numpy()
    row, at = expand(column_days(events["day"]), windows.requested, windows.look_back_days)
    pair, out = windows.find(events, row, at)
    row = row[pair]
    profiles = []
    for value, size in ((hour, 24), (weekday, 7)):
        counts = np.bincount(out * size + value[row], minlength=windows.n_out * size).reshape(windows.n_out, size)
        profiles.append(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    return profiles[0], profiles[1]


def _price_level(events: pa.Table, windows: _UserWindows) -> Float64Array:
    """Mean price rank [out] of the items in a user's events; nan without a price."""
    items = ItemWindows(events, windows.requested, windows.look_back_days)
    prices = items.median_prices()
    priced = np.flatnonzero(~np.isnan(prices))
    _, price_group = groups(items.out_at[priced], items.out_segment[priced], items.out_category[priced])
    rank = np.full(items.n_out, np.nan)
    rank[priced] = mid_rank(price_group, prices[priced], int(price_group.max(initial=-1)) + 1)
    pair, out = windows.find(items.events, items.row, items.at)
    met = rank[items.out[pair]]
    known = ~np.isnan(met)
    with np.errstate(invalid="ignore"):
        mean = sum_by(out[known], met[known], windows.n_out) / np.bincount(out[known], minlength=windows.n_out)
    return np.asarray(mean)


def _entropy(out: Int64Array, category: Int64Array, events: Float64Array, n_out: int) -> Float64Array:
    """Shannon entropy [out] of events over categories, bits."""
    (cell_out, _), cell = groups(out, category)
    mass = sum_by(cell, events, len(cell_out))
    share = mass / sum_by(cell_out, mass, n_out)[cell_out]
    return np.maximum(sum_by(cell_out, -share * np.log2(share), n_out), 0.0)


def _impute_and_normalise(value: Float64Array, stratum: Int64Array) -> tuple[Float64Array, Float64Array]:
    """The stratum's median for nan (0 where all are), and z-scores within the stratum (0 where all are equal)."""
    n_strata = int(stratum.max(initial=-1)) + 1
    known = ~np.isnan(value)
    middle = np.nan_to_num(median(stratum[known], value[known], n_strata))
    imputed = np.where(known, value, middle[stratum])
    count = np.maximum(np.bincount(stratum, minlength=n_strata), 1)
    centred = imputed - (sum_by(stratum, imputed, n_strata) / count)[stratum]
    deviation = np.sqrt(sum_by(stratum, centred**2, n_strata) / count)[stratum]
    # Equal values deviate by rounding alone.
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
