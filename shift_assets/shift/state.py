"""The state that every user carries from day to day: tastes, recent days, smoothed indicators, the open alarm.

`interest_state` of a day is `advance(interest_state of the day before, interest_series of the day)`. Only users
active that day are computed; all others are carried as Arrow rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts import BEHAVIORS, INTEREST_STATE
from shift_assets.settings import AlertSettings, Settings
from shift_assets.shift.episodes import MIX_KINDS, Excess, alert_id, excess, is_return, transition
from shift_assets.shift.indicators import ewma
from shift_assets.shift.onset import onset_entry
from shift_assets.shift.rings import (
    CategoryCodes,
    Floats,
    Ints,
    Rings,
    Weights,
    append_day,
    offsets,
    read_rings,
    read_weights,
    ring_categories,
    sum_by,
    weight_categories,
    write_rings,
    write_weights,
)
from shift_assets.shift.signals import indicators
from shift_assets.shift.windows import recent_entries

FORGOTTEN = 1e-6
"""A weight of the long-term profile below this is dropped: 20 half-lives after one point of score."""

_NO_DAY = -(2**31)
_SMOOTHED = ("change_rate_ewma", "interest_gap_ewma", "distribution_distance_ewma")
_ALERT_DAYS = ("alert_opened_day", "alert_onset_day", "alert_exceeded_day")
_ALERT = ("alert_id", "alert_kind", *_ALERT_DAYS)


def advance(state: pa.Table | None, series_of_day: pa.Table, day: date, segment: str, settings: Settings) -> pa.Table:
    """The state as of the end of `day`, one row per user ever active, sorted by user.

    state: `interest_state` of the day before, in any order of rows; None or empty at the beginning.
    series_of_day: `interest_series` of this day and segment, in any order of rows; empty where nobody came.

    Users active today get the day at the end of their ring, their profile decayed and added to, their indicators
    and their alarm evaluated. All others keep everything, but an alarm that closed yesterday is forgotten and one
    not renewed for `alerts.close_after_days` closes today.

    Raises ValueError when `state` is not that of the day before, or the series is of another day or segment.
    """
    known = (INTEREST_STATE.empty() if state is None else state).sort_by("user_id")
    _require(known, day - timedelta(days=1), segment, "interest_state")
    _require(series_of_day, day, segment, "interest_series")
    series = series_of_day.sort_by([("user_id", "ascending"), ("category", "ascending")])
    active = pc.unique(series["user_id"])
    carried = _carry(known, day, settings.alerts)
    if len(active) == 0:
        return carried
    row_of_active = pc.index_in(active, value_set=known["user_id"])
    touched = _advance_active(known, row_of_active, active, series, day=day, segment=segment, settings=settings)
    # One gather merges both: today's rows replace the carried ones, new users go where the order wants them.
    order = pa.concat_arrays([carried["user_id"].combine_chunks(), active.filter(row_of_active.is_null())])
    source = np.concatenate(
        [np.arange(len(carried)), len(carried) + np.flatnonzero(row_of_active.is_null().to_numpy(zero_copy_only=False))]
    )
    replaced = row_of_active.is_valid().to_numpy(zero_copy_only=False)
    source[row_of_active.drop_null().to_numpy()] = len(carried) + np.flatnonzero(replaced)
    merged = source[pc.sort_indices(order).to_numpy()]
    return pa.concat_tables([carried, touched]).take(pa.array(merged)).combine_chunks()


def advance_range(
    state: pa.Table | None, series: pa.Table, days: Iterable[date], segment: str, settings: Settings
) -> Iterator[tuple[date, pa.Table]]:
    """`advance` over consecutive days in order; yields every day with its state.

    series: `interest_series` of these days and this segment; other days in it are not looked at.
    """
    day_numbers = series["day"].cast(pa.int32()).to_numpy()
    order = np.argsort(day_numbers, kind="stable")
    series, day_numbers = series.take(pa.array(order)), day_numbers[order]
    for day in days:
        first, last = np.searchsorted(day_numbers, [_number(day), _number(day) + 1])
        state = advance(state, series.slice(int(first), int(last - first)), day, segment, settings)
        yield day, state


def _carry(state: pa.Table, day: date, settings: AlertSettings) -> pa.Table:
    """The rows of users who do not come today."""
    over = pc.fill_null(pc.equal(state["alert_status"], "closed"), False)
    exceeded = pc.if_else(over, pa.scalar(None, pa.date32()), state["alert_exceeded_day"])
    last_allowed = pa.scalar(day - timedelta(days=settings.close_after_days), pa.date32())
    closes = pc.fill_null(pc.less_equal(exceeded, last_allowed), False)
    columns = {name: state[name] for name in state.column_names}
    for name in _ALERT:
        columns[name] = pc.if_else(over, pa.scalar(None, state[name].type), state[name])
    columns["alert_status"] = pc.if_else(closes, pa.scalar("closed"), pa.scalar(None, pa.string()))
    columns["day"] = pa.chunked_array([pa.repeat(pa.scalar(day, pa.date32()), len(state))])
    return pa.table(columns, schema=INTEREST_STATE.schema)


def _advance_active(
    known: pa.Table,
    row_of_active: pa.Int32Array,
    active: pa.StringArray,
    series: pa.Table,
    *,
    day: date,
    segment: str,
    settings: Settings,
) -> pa.Table:
    """The rows of the users `active` today; `row_of_active[user]` is a user's row in `known`, null for a new one."""
    n_users = len(active)
    before = _rows(known, row_of_active)
    codes = CategoryCodes(
        ring_categories(before["recent_days"]), weight_categories(before["profile"]), series["category"]
    )
    decay = 2.0 ** (-1.0 / settings.state.half_life_active_days)
    today = _entries_of_day(series, active, day, codes)
    old_rings = read_rings(before["recent_days"], codes)
    rings = append_day(
        old_rings,
        today,
        settings.state.recent_active_days + settings.state.reference_active_days,
    )
    profile = _decay_and_add(read_weights(before["profile"], codes), today, decay, max(len(codes), 1))

    previous = [_floats(before[name]) for name in _SMOOTHED]
    is_recent = recent_entries(rings, settings.state)
    raw = indicators(rings, is_recent, len(codes), settings.signals)
    half_life = settings.signals.ewma_half_life_active_days
    smoothed = [
        ewma(old, new, half_life)
        for old, new in zip(previous, (raw.change_rate, raw.interest_gap, raw.distribution_distance), strict=True)
    ]
    alarms = _Alarms(before, day)
    alarms.evaluate(
        excess(*previous, n_days=old_rings.n_days, settings=settings.alerts, segment=segment),
        excess(*smoothed, n_days=rings.n_days, settings=settings.alerts, segment=segment),
        settings.alerts,
    )
    alarms.open(
        active.to_pylist(),
        rings,
        profile,
        n_categories=len(codes),
        decay=decay,
        return_share=settings.alerts.return_share,
    )

    last_active = before["last_active_day"].cast(pa.int32())
    gap = _number(day) - _integers(last_active, _number(day)).astype(np.float64)
    returned = np.asarray(last_active.is_valid(), dtype=bool)
    gap_count = _integers(before["gap_count"], 0)
    columns: dict[str, pa.Array] = {
        "day": pa.repeat(pa.scalar(day, pa.date32()), n_users),
        "segment": pa.repeat(pa.scalar(segment), n_users),
        "user_id": active,
        "last_active_day": pa.repeat(pa.scalar(day, pa.date32()), n_users),
        "active_days": pa.array(_integers(before["active_days"], 0) + 1),
        "profile": write_weights(profile, codes),
        "recent_days": write_rings(rings, codes),
        **{name: pa.array(value, from_pandas=True) for name, value in zip(_SMOOTHED, smoothed, strict=True)},
        **alarms.columns(),
        "gap_count": pa.array(gap_count + returned),
        "gap_mean_days": _running_mean(before["gap_mean_days"], gap_count, gap, returned),
        "gap_square_mean": _running_mean(before["gap_square_mean"], gap_count, gap**2, returned),
    }
    return pa.table([columns[name] for name in INTEREST_STATE.schema.names], schema=INTEREST_STATE.schema)


class _Alarms:
    """The alarm columns of the users active today, while they change."""

    def __init__(self, before: pa.Table, day: date) -> None:
        self.day = day
        over = np.array([status == "closed" for status in before["alert_status"].to_pylist()], dtype=bool)
        self.id: list[str | None] = _without(before["alert_id"].to_pylist(), over)
        self.kind: list[str | None] = _without(before["alert_kind"].to_pylist(), over)
        self.opened, self.onset, self.exceeded = (
            np.where(over, _NO_DAY, _integers(before[name].cast(pa.int32()), _NO_DAY)) for name in _ALERT_DAYS
        )
        self.status: list[str | None] = [None] * len(over)
        self.to_open = self.by_mix = np.zeros(len(over), dtype=bool)

    def evaluate(self, before: Excess, now: Excess, settings: AlertSettings) -> None:
        """Mark what is continued, closed, or to be opened."""
        step = transition(before, now, self.kind, _number(self.day) - self.exceeded, settings)
        became_mix = step.continued & step.by_mix & np.array([kind not in MIX_KINDS for kind in self.kind], dtype=bool)
        self.exceeded = np.where(step.opened | step.continued, _number(self.day), self.exceeded)
        for flags, status in ((step.opened, "opened"), (step.continued, "continued"), (step.closed, "closed")):
            for user in np.flatnonzero(flags):
                self.status[user] = status
        self.by_mix = step.by_mix & (step.opened | became_mix)
        self.to_open = step.opened
        rises = now.activity > 0
        for user in np.flatnonzero(step.opened & ~step.by_mix):
            self.kind[user] = "surge" if rises[user] else "fade"

    def open(
        self,
        user_ids: list[str],
        rings: Rings,
        profile: Weights,
        *,
        n_categories: int,
        decay: float,
        return_share: float,
    ) -> None:
        """Name the alarms that open, find their onset, and tell a return from a switch."""
        for user in np.flatnonzero(self.to_open):
            self.id[user] = alert_id(user_ids[user], self.day)
            self.opened[user] = _number(self.day)
        is_after = np.zeros(len(rings.day), dtype=bool)
        for user in np.flatnonzero(self.to_open | self.by_mix):
            entry = onset_entry(rings, int(user), n_categories, by_activity=not self.by_mix[user])
            self.onset[user] = rings.day[entry]
            is_after[entry : rings.start[user + 1]] = True
        users = np.flatnonzero(self.by_mix)
        if len(users):
            returns = is_return(
                rings,
                profile,
                users,
                is_after,
                n_categories=n_categories,
                decay=decay,
                return_share=return_share,
            )
            for user, is_back in zip(users, returns, strict=True):
                self.kind[user] = "return" if is_back else "switch"

    def columns(self) -> dict[str, pa.Array]:
        days = {
            name: pa.array(value.astype(np.int32), mask=value == _NO_DAY).cast(pa.date32())
            for name, value in zip(_ALERT_DAYS, (self.opened, self.onset, self.exceeded), strict=True)
        }
        return {
            "alert_id": pa.array(self.id, pa.string()),
            "alert_kind": pa.array(self.kind, pa.string()),
            "alert_status": pa.array(self.status, pa.string()),
            **days,
        }


def _entries_of_day(series: pa.Table, active: pa.StringArray, day: date, codes: CategoryCodes) -> Rings:
    """The day's series, sorted by user and category, as rings of one entry per active user."""
    user = pc.index_in(series["user_id"], value_set=active).to_numpy()
    counts = np.zeros((len(active), len(BEHAVIORS)), dtype=np.int32)
    for column, behavior in enumerate(BEHAVIORS):
        counts[:, column] = np.bincount(user, weights=series[f"n_{behavior}"].to_numpy(), minlength=len(active))
    return Rings(
        start=np.arange(len(active) + 1, dtype=np.int64),
        day=np.full(len(active), _number(day), dtype=np.int64),
        score_start=offsets(np.bincount(user, minlength=len(active))),
        category=codes.encode(series["category"]),
        score=series["score"].to_numpy(),
        counts=counts,
    )


def _decay_and_add(profile: Weights, today: Rings, decay: float, n_categories: int) -> Weights:
    """Every profile one active day older, with today's scores added; sorted by user and category."""
    key = np.concatenate(
        [profile.user * n_categories + profile.category, today.user[today.score_entry] * n_categories + today.category]
    )
    cells, cell = np.unique(key, return_inverse=True)
    weight = sum_by(cell, np.concatenate([profile.weight * decay, today.score]), len(cells))
    kept = weight >= FORGOTTEN
    cells, weight = cells[kept], weight[kept]
    return Weights(offsets(np.bincount(cells // n_categories, minlength=today.n_users)), cells % n_categories, weight)


def _rows(known: pa.Table, rows: pa.Int32Array) -> pa.Table:
    """`known` at these rows; where a row is null, a user without a past."""
    found = known.take(rows)
    for name in ("profile", "recent_days"):
        column = found[name]
        filled = pc.if_else(column.is_valid(), column, pa.scalar([], column.type))
        found = found.set_column(found.schema.get_field_index(name), name, filled)
    return found


def _running_mean(mean: pa.ChunkedArray, count: Ints, value: Floats, counts_today: np.ndarray) -> pa.Array:
    old = np.nan_to_num(_floats(mean))
    new = np.where(counts_today, old + (value - old) / (count + 1), old)
    return pa.array(new, mask=count + counts_today == 0)


def _without(values: list[str | None], gone: np.ndarray) -> list[str | None]:
    return [None if is_gone else value for value, is_gone in zip(values, gone, strict=True)]


def _floats(column: pa.ChunkedArray) -> Floats:
    """Numbers of a column; nan where it is null."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _integers(column: pa.ChunkedArray, missing: int) -> Ints:
    return np.asarray(pc.fill_null(column, missing).to_numpy(), dtype=np.int64)


def _number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - date(1970, 1, 1)).days


def _require(table: pa.Table, day: date, segment: str, name: str) -> None:
    for column, wanted in (("day", day), ("segment", segment)):
        found = [value for value in pc.unique(table[column]).to_pylist() if value != wanted]
        if found:
            raise ValueError(f"{name} has {column} {found[0]}, expected {wanted} only")
