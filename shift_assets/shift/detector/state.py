"""The state that every user carries from day to day: tastes, recent days, smoothed indicators, the open alarm.

`interest_state` of a day is `advance(interest_state of the day before, interest_series of the day)`. Only users
active that day are computed; all others are carried as Arrow rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array, floats, integers, offsets, sum_by
from shift_assets.churn.alerts import with_churn_columns
from shift_assets.churn.bg_nbd import ChurnParameters
from shift_assets.churn.calibration import fit_churn
from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.day import day_number
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.interest.user_days import (
    UserDays,
    Weights,
    append_day,
    read_user_days,
    read_weights,
    user_day_categories,
    weight_categories,
    write_user_days,
    write_weights,
)
from shift_assets.interest.windows import recent_entries
from shift_assets.settings.root import AlertSettings, Settings
from shift_assets.shift.alerts.lifecycle import EvidenceObservation, excess
from shift_assets.shift.alerts.open_alerts import ALERT_DAYS, AlertContext, OpenAlerts
from shift_assets.shift.alerts.profiles import decay_and_add, settle
from shift_assets.shift.detector.calibration import FAMILY_DAYS, PermutationNull, permutation_null, q_values
from shift_assets.shift.detector.evidence import Memory, advance_day, no_evidence, segment_mix
from shift_assets.shift.detector.indicators import ewma
from shift_assets.shift.detector.memory import (
    drop_shares_older_than_starts,
    memory_columns,
    own_shares,
    profile_mass,
    restore_memory,
    watched_categories,
)
from shift_assets.shift.detector.signals import indicators
from shift_assets.shift.learned.selection import detector_selection, newest_check

_SMOOTHED = ("change_rate_ewma", "interest_gap_ewma", "distribution_distance_ewma")
_CHURN = ("churn_probability", "churn_opened_day", "churn_status")
_PROFILES = ("profile", "former_profile")
_LISTS = (*_PROFILES, "recent_days", "log_evidence", "run_length")
_ALERT = ("alert_id", "alert_kind", *ALERT_DAYS)


def advance(
    state: pa.Table | None,
    series_of_day: pa.Table,
    day: date,
    segment: str,
    settings: Settings,
    *,
    churn: ChurnParameters | None = None,
    with_p_values: bool = True,
) -> pa.Table:
    """The state as of the end of `day`, one row per user ever active, sorted by user.

    state: `interest_state` of the day before, in any order of rows; None or empty at the beginning.
    series_of_day: `interest_series` of this day and segment, in any order of rows; empty where nobody came.
    churn: parameters of the churn warnings, from the state of an earlier day (`refit_day`); without them nothing is
    said about churn. with_p_values: without them the column is null, which saves time and changes nothing else,
    unless the alarm rule is `discovery`: then they are always there.

    Users active today get the day at the end of their ring, their profile decayed and added to, their indicators
    and their alarm evaluated. All others keep everything, but an alarm that closed yesterday is forgotten and one
    not renewed for `alerts.close_after_days` closes today.

    Raises ValueError when `state` is not that of the day before, or the series is of another day or segment.
    """
    known = _by_user(INTEREST_STATE.empty() if state is None else state)
    _require(known, day - timedelta(days=1), segment, "interest_state")
    _require(series_of_day, day, segment, "interest_series")
    series = series_of_day.sort_by([("user_id", "ascending"), ("category", "ascending")])
    active = pc.unique(series["user_id"])
    carried = _carry_inactive(known, day, settings.alerts)
    if len(active) == 0:
        return with_churn_columns(carried, churn, day, settings.churn)
    row_of_active = pc.index_in(active, value_set=known["user_id"])
    advanced = _advance_active(
        known, row_of_active, active, series, day=day, segment=segment, settings=settings, with_p_values=with_p_values
    )
    # One gather merges both: today's rows replace the carried ones, new users go where the order wants them.
    order = pa.concat_arrays([carried["user_id"].combine_chunks(), active.filter(row_of_active.is_null())])
    source = np.concatenate(
        [np.arange(len(carried)), len(carried) + np.flatnonzero(row_of_active.is_null().to_numpy(zero_copy_only=False))]
    )
    replaced = row_of_active.is_valid().to_numpy(zero_copy_only=False)
    source[row_of_active.drop_null().to_numpy()] = len(carried) + np.flatnonzero(replaced)
    merged = source[pc.sort_indices(order).to_numpy()]
    state = pa.concat_tables([carried, advanced]).take(pa.array(merged)).combine_chunks()
    return with_churn_columns(state, churn, day, settings.churn)


def advance_range(
    state: pa.Table | None,
    series: pa.Table,
    days: Iterable[date],
    segment: str,
    settings: Settings,
    *,
    churn: ChurnParameters | None = None,
    checks: pa.Table | None = None,
    p_values_from: date | None = None,
) -> Iterator[tuple[date, pa.Table]]:
    """`advance` over consecutive days in order; yields every day with its state.

    series: `interest_series` of these days and this segment; other days in it are not looked at. churn:
    parameters from the state of `refit_day` of the first of the days; they are fitted anew at the end of every such
    day. checks: rows of `detector_self_check`; the newest of the segment before a day chooses that day's windows.
    p_values_from: first day whose p-values are wanted; None: all.
    """
    day_numbers = series["day"].cast(pa.int32()).to_numpy()
    order = np.argsort(day_numbers, kind="stable")
    series, day_numbers = series.take(pa.array(order)), day_numbers[order]
    for day in days:
        first, last = np.searchsorted(day_numbers, [day_number(day), day_number(day) + 1])
        wanted = p_values_from is None or day >= p_values_from
        rows = series.slice(int(first), int(last - first))
        chosen = settings_of_day(settings, checks, segment, day)
        state = advance(state, rows, day, segment, chosen, churn=churn, with_p_values=wanted)
        if day.weekday() == settings.forecast.refit_weekday:
            churn = fit_churn(state, day, settings.churn)
        yield day, state


def _recent_tests_and_discoveries(known: pa.Table, day: date) -> tuple[int, int]:
    """Tests and discoveries of the segment in the family's days before `day`."""
    first = pa.scalar(day - timedelta(days=FAMILY_DAYS - 1), pa.date32())
    days = known["recent_days"].combine_chunks().flatten().field("day")
    tests, found = (pc.sum(pc.greater_equal(values, first)).as_py() or 0 for values in (days, known["last_alert_day"]))
    return int(tests), int(found)


def settings_of_day(settings: Settings, checks: pa.Table | None, segment: str, day: date) -> Settings:
    """The settings with the windows of the evidence that the newest self-check before `day` chose, if there is one."""
    if checks is None or checks.num_rows == 0:
        return settings
    chosen = detector_selection(newest_check(checks, segment, day), settings.evidence)
    return settings.model_copy(update={"evidence": chosen.evidence(settings.evidence)})


def _by_user(state: pa.Table) -> pa.Table:
    """The rows sorted by user; those of a state that was made here are."""
    users = state["user_id"].combine_chunks()
    is_sorted = pc.all(pc.less(users[:-1], users[1:])).as_py()
    return state if is_sorted in (True, None) else state.sort_by("user_id")


def _carry_inactive(state: pa.Table, day: date, settings: AlertSettings) -> pa.Table:
    """The rows of users who do not come today."""
    was_closed = pc.fill_null(pc.equal(state["alert_status"], "closed"), False)
    exceeded = pc.if_else(was_closed, pa.scalar(None, pa.date32()), state["alert_exceeded_day"])
    last_allowed = pa.scalar(day - timedelta(days=settings.close_after_days), pa.date32())
    closes = pc.fill_null(pc.less_equal(exceeded, last_allowed), False)
    columns = {name: state[name] for name in state.column_names}
    for name in _ALERT:
        columns[name] = pc.if_else(was_closed, pa.scalar(None, state[name].type), state[name])
    columns["alert_status"] = pc.if_else(closes, pa.scalar("closed"), pa.scalar(None, pa.string()))
    for name in ("p_value", "q_value"):
        columns[name] = pa.nulls(len(state), pa.float64())
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
    with_p_values: bool,
) -> pa.Table:
    """The rows of the users `active` today; `row_of_active[user]` is a user's row in `known`, null for a new one."""
    n_users = len(active)
    before = _rows(known, row_of_active)
    # The long-term profiles of all users tell the segment's mix, so every category of theirs has a code.
    codes = CategoryCodes(
        *(weight_categories(known[name]) for name in _PROFILES),
        user_day_categories(before["recent_days"]),
        series["category"],
    )
    today = _entries_of_day(series, active, day, codes)
    previous_days = read_user_days(before["recent_days"], codes)
    user_days = append_day(
        previous_days,
        today,
        settings.state.recent_active_days + settings.state.reference_active_days,
    )

    # 1. the evidence of the day
    update = _evidence_of_day(
        known, before, user_days, codes, day=day, segment=segment, settings=settings, with_p_values=with_p_values
    )
    user_days, profile = update.user_days, update.profile
    former = read_weights(before["former_profile"], codes)
    open_alerts = OpenAlerts(before, day)
    # Whoever stays above the line since an alarm closed by time has been told of: no new test.
    already_reported = open_alerts.is_open | (
        floats(before["evidence"]) >= np.log(settings.alerts.patience_active_days)
    )
    q_value = q_values(
        np.where(already_reported, np.nan, update.p_value),
        *_recent_tests_and_discoveries(known, day),
        update.null.onset_share,
    )

    # 2. the classic indicators
    previous = [floats(before[name]) for name in _SMOOTHED]
    is_recent = recent_entries(user_days, settings.state)
    raw = indicators(user_days, is_recent, len(codes), settings.signals)
    half_life = settings.signals.ewma_half_life_active_days
    smoothed = [
        ewma(old, new, half_life)
        for old, new in zip(previous, (raw.change_rate, raw.interest_gap, raw.distribution_distance), strict=True)
    ]

    # 3. the alarms
    context = AlertContext(user_days, own_shares(user_days), [profile, former], len(codes), settings.evidence.decay)
    if settings.alerts.detector == "evidence":
        observation = EvidenceObservation(
            before=floats(before["evidence"]),
            now=update.log_e,
            q_value=q_value,
            scored_since_onset=open_alerts.scored_since_onset(user_days),
        )
        open_alerts.apply_evidence(observation, settings)
        open_alerts.open_by_evidence(active.to_pylist(), context, update.onset, settings.alerts)
        profile, former = settle(profile, former, context, open_alerts)
        update.memory.reset(open_alerts.settled)
    else:
        open_alerts.apply_thresholds(
            excess(*previous, n_days=previous_days.n_days, settings=settings.alerts, segment=segment),
            excess(*smoothed, n_days=user_days.n_days, settings=settings.alerts, segment=segment),
            settings.alerts,
        )
        open_alerts.open_by_thresholds(active.to_pylist(), context, settings.alerts.return_share)

    last_active = before["last_active_day"].cast(pa.int32())
    gap = day_number(day) - integers(last_active, day_number(day)).astype(np.float64)
    returned = np.asarray(last_active.is_valid(), dtype=bool)
    gap_count = integers(before["gap_count"], 0)
    columns: dict[str, pa.Array] = {
        "day": pa.repeat(pa.scalar(day, pa.date32()), n_users),
        "segment": pa.repeat(pa.scalar(segment), n_users),
        "user_id": active,
        "last_active_day": pa.repeat(pa.scalar(day, pa.date32()), n_users),
        "active_days": pa.array(integers(before["active_days"], 0) + 1),
        "profile": write_weights(profile, codes),
        "former_profile": write_weights(former, codes),
        "recent_days": write_user_days(user_days, codes),
        **memory_columns(update.memory),
        "evidence": _previous_where_nan(update.log_e, before["evidence"]),
        "confidence": _previous_where_nan(update.posterior, before["confidence"]),
        "p_value": pa.array(update.p_value, from_pandas=True),
        "q_value": pa.array(q_value, from_pandas=True),
        "last_alert_day": pc.if_else(
            pa.array(open_alerts.to_open), pa.scalar(day, pa.date32()), before["last_alert_day"].combine_chunks()
        ),
        **{name: pa.array(value, from_pandas=True) for name, value in zip(_SMOOTHED, smoothed, strict=True)},
        **open_alerts.columns(),
        **{name: before[name] for name in _CHURN},
        "gap_count": pa.array(gap_count + returned),
        "gap_mean_days": _running_mean(before["gap_mean_days"], gap_count, gap, returned),
        "gap_square_mean": _running_mean(before["gap_square_mean"], gap_count, gap**2, returned),
    }
    return pa.table([columns[name] for name in INTEREST_STATE.schema.names], schema=INTEREST_STATE.schema)


@dataclass(frozen=True, slots=True)
class _EvidenceUpdate:
    """What the evidence says of the users active today; nan, and -1, for a user without score."""

    user_days: UserDays  # with `own_share` of today
    profile: Weights
    memory: Memory
    log_e: Float64Array  # [user]
    posterior: Float64Array  # [user]
    onset: Int64Array  # [user], entry
    p_value: Float64Array  # [user], nan where not asked for
    null: PermutationNull


def _evidence_of_day(
    known: pa.Table,
    before: pa.Table,
    user_days: UserDays,
    codes: CategoryCodes,
    *,
    day: date,
    segment: str,
    settings: Settings,
    with_p_values: bool,
) -> _EvidenceUpdate:
    """known: the state of everybody; before: its rows of the users active today; rings: their days, today's last."""
    mass = profile_mass(known["profile"], codes)
    watch = watched_categories(mass, settings.evidence.least_share)
    profile = read_weights(before["profile"], codes)
    memory = restore_memory(before, user_days, profile, watch, settings.evidence)
    found = no_evidence(len(user_days.day))
    newest = user_days.start[1:] - 1
    scored = np.flatnonzero(user_days.is_scored[newest])
    mix = segment_mix(sum_by(watch[0], mass, watch[1]))
    advance_day(memory, scored, newest[scored], mix, settings=settings.evidence, out=found)
    user_days = drop_shares_older_than_starts(replace(user_days, own_share=memory.share), settings.evidence.starts)
    null = PermutationNull(np.zeros(0))
    if with_p_values or settings.alerts.rule == "discovery":
        seed = [settings.seed, day_number(day), zlib.crc32(segment.encode())]
        history = user_days.take_users(scored)
        history = replace(history, category=watch[0][history.category])
        null = permutation_null(history, watch[1], settings.calibration, settings.evidence, seed)
    return _EvidenceUpdate(
        user_days=user_days,
        profile=decay_and_add(profile, user_days, scored, settings.evidence.decay, max(len(codes), 1)),
        memory=memory,
        log_e=found.log_e[newest],
        posterior=found.posterior[newest],
        onset=found.onset[newest],
        p_value=null.p_values(found.log_e[newest]),
        null=null,
    )


def _entries_of_day(series: pa.Table, active: pa.StringArray, day: date, codes: CategoryCodes) -> UserDays:
    """The day's series, sorted by user and category, as rings of one entry per active user."""
    user = pc.index_in(series["user_id"], value_set=active).to_numpy()
    counts = np.zeros((len(active), len(BEHAVIORS)), dtype=np.int32)
    for column, behavior in enumerate(BEHAVIORS):
        counts[:, column] = np.bincount(user, weights=series[f"n_{behavior}"].to_numpy(), minlength=len(active))
    return UserDays(
        start=np.arange(len(active) + 1, dtype=np.int64),
        day=np.full(len(active), day_number(day), dtype=np.int64),
        score_start=offsets(np.bincount(user, minlength=len(active))),
        category=codes.encode(series["category"]),
        score=series["score"].to_numpy(),
        counts=counts,
        own_share=np.zeros(len(series), dtype=np.float32),
    )


def _rows(known: pa.Table, rows: pa.Int32Array) -> pa.Table:
    """`known` at these rows; where a row is null, a user without a past."""
    found = known.take(rows)
    for name in _LISTS:
        column = found[name]
        filled = pc.if_else(column.is_valid(), column, pa.scalar([], column.type))
        found = found.set_column(found.schema.get_field_index(name), name, filled)
    return found


def _running_mean(mean: pa.ChunkedArray, count: Int64Array, value: Float64Array, counts_today: np.ndarray) -> pa.Array:
    old = np.nan_to_num(floats(mean))
    new = np.where(counts_today, old + (value - old) / (count + 1), old)
    return pa.array(new, mask=count + counts_today == 0)


def _previous_where_nan(value: Float64Array, before: pa.ChunkedArray) -> pa.Array:
    """`value`, and what was before where it is nan."""
    return pa.array(np.where(np.isnan(value), floats(before), value), from_pandas=True)


def _require(table: pa.Table, day: date, segment: str, name: str) -> None:
    for column, wanted in (("day", day), ("segment", segment)):
        found = [value for value in pc.unique(table[column]).to_pylist() if value != wanted]
        if found:
            raise ValueError(f"{name} has {column} {found[0]}, expected {wanted} only")
