"""Users active on a day: their evidence, indicators and alerts, and their rows of the interest state."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, CategoryCodes, Float64Array, Int64Array, floats, integers, sum_by
from shift_assets.contracts.day import day_number
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.interest.histories import behavior_counts
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
from shift_assets.shift.alerts.kinds import AlertContext
from shift_assets.shift.alerts.lifecycle import EvidenceObservation, Excess, excess, mix_excess
from shift_assets.shift.alerts.open_alerts import OpenAlerts
from shift_assets.shift.alerts.profiles import decay_and_add, settle
from shift_assets.shift.detector.calibration import FAMILY_DAYS, NullSample, permutation_null, q_values
from shift_assets.shift.detector.carry import PROFILES
from shift_assets.shift.detector.evidence import advance_day, segment_mix
from shift_assets.shift.detector.forecast_error import calibrated_threshold, newest_errors
from shift_assets.shift.detector.indicators import ewma
from shift_assets.shift.detector.memory import (
    drop_shares_older_than_starts,
    memory_columns,
    own_shares,
    profile_mass,
    restore_memory,
    watched_categories,
)
from shift_assets.shift.detector.recursion import Evidence, Memory
from shift_assets.shift.detector.signals import indicators
from shift_assets.shift.detector.statistics import CalibratedDetector, features
from shift_assets.shift.detector.window_ratios import WindowRatios, window_ratios

_SMOOTHED = ("change_rate_ewma", "interest_gap_ewma", "distribution_distance_ewma")


@dataclass(frozen=True, slots=True)
class ActiveUsers:
    """The users active on a day of a segment, sorted by id; axis `user` below."""

    day: date
    segment: str
    ids: pa.StringArray  # [user]
    known: pa.Table  # state of all users at the end of the day before
    before: pa.Table  # [user], its rows of these users; empty lists and nulls for a new user
    codes: CategoryCodes  # categories of the series and of all profiles
    previous_days: UserDays  # recent days without today
    user_days: UserDays  # recent days, today's last

    @classmethod
    def read(
        cls,
        known: pa.Table,
        before: pa.Table,
        ids: pa.StringArray,
        series: pa.Table,
        *,
        day: date,
        segment: str,
        settings: Settings,
    ) -> ActiveUsers:
        """Read the users' rows and append the day; `series` is the day's, sorted by user and category."""
        # The long-term profiles of all users make up the segment's mix, so each of their categories has a code.
        codes = CategoryCodes(
            *(weight_categories(known[name]) for name in PROFILES),
            user_day_categories(before["recent_days"]),
            series["category"],
        )
        today = UserDays.from_cells(
            pc.index_in(series["user_id"], value_set=ids).to_numpy().astype(np.int64),
            np.full(len(series), day_number(day), dtype=np.int64),
            behavior_counts(series),
            cell_row=np.arange(len(series)),
            category=codes.encode(series["category"]),
            score=series["score"].to_numpy(),
            n_users=len(ids),
            n_categories=len(codes),
        )
        today = replace(today, own_share=np.zeros(len(today.score), dtype=np.float32))
        previous_days = read_user_days(before["recent_days"], codes)
        capacity = settings.state.recent_active_days + settings.state.reference_active_days
        return cls(day, segment, ids, known, before, codes, previous_days, append_day(previous_days, today, capacity))


@dataclass(frozen=True, slots=True)
class _EvidenceUpdate:
    """The evidence of the day; nan, and -1, for a user without score."""

    user_days: UserDays  # with `own_share` of today
    profile: Weights
    memory: Memory
    log_e: Float64Array  # [user]
    confidence: Float64Array  # [user], of the learned detector; without one the posterior
    threshold_confidence: float | None  # confidence from which an alert opens, by the learned detector
    onset: Int64Array  # [user], entry
    p_value: Float64Array  # [user], nan where not computed
    onset_share: float  # part of a null's large statistics that begin a run of them


@dataclass(frozen=True, slots=True)
class _SmoothedIndicators:
    """The classic indicators, [user] each, in the order of `_SMOOTHED`, before and after the day."""

    previous: list[Float64Array]
    now: list[Float64Array]


def advance_active(
    users: ActiveUsers, settings: Settings, model: CalibratedDetector | None, *, with_p_values: bool
) -> pa.Table:
    """Return the users' rows of `interest_state` at the end of the day, in their order."""
    update = _advance_evidence(users, settings, model, with_p_values=with_p_values)
    open_alerts = OpenAlerts(users.before, users.day)
    q_value = _q_values(users, update, open_alerts.is_open, settings)
    smoothed = _smooth_indicators(users, settings)
    profile, former = _advance_alerts(open_alerts, users, update, q_value, smoothed, settings)
    before, n_users = users.before, len(users.ids)
    columns: dict[str, pa.Array] = {
        "day": pa.repeat(pa.scalar(users.day, pa.date32()), n_users),
        "segment": pa.repeat(pa.scalar(users.segment), n_users),
        "user_id": users.ids,
        "last_active_day": pa.repeat(pa.scalar(users.day, pa.date32()), n_users),
        "active_days": pa.array(integers(before["active_days"], 0) + 1),
        "profile": write_weights(profile, users.codes),
        "former_profile": write_weights(former, users.codes),
        "recent_days": write_user_days(update.user_days, users.codes),
        **memory_columns(update.memory),
        "evidence": _previous_where_nan(update.log_e, before["evidence"]),
        "confidence": _previous_where_nan(update.confidence, before["confidence"]),
        "p_value": pa.array(update.p_value, from_pandas=True),
        "q_value": pa.array(q_value, from_pandas=True),
        "last_alert_day": pc.if_else(
            pa.array(open_alerts.to_open), pa.scalar(users.day, pa.date32()), before["last_alert_day"].combine_chunks()
        ),
        **{name: pa.array(value, from_pandas=True) for name, value in zip(_SMOOTHED, smoothed.now, strict=True)},
        **open_alerts.columns(),
        **_gap_columns(before, users.day),
    }
    return pa.table([columns[name] for name in INTEREST_STATE.schema.names], schema=INTEREST_STATE.schema)


def _advance_evidence(
    users: ActiveUsers, settings: Settings, model: CalibratedDetector | None, *, with_p_values: bool
) -> _EvidenceUpdate:
    user_days, codes = users.user_days, users.codes
    mass = profile_mass(users.known["profile"], codes)
    watched = watched_categories(mass)
    number, n_watched = watched
    profile = read_weights(users.before["profile"], codes)
    memory = restore_memory(users.before, user_days, profile, watched, settings.evidence)
    found = Evidence.empty(len(user_days.day))
    newest = user_days.start[1:] - 1
    scored = np.flatnonzero(user_days.is_scored[newest])
    mix = segment_mix(sum_by(number, mass, n_watched))
    advance_day(memory, scored, newest[scored], mix, settings=settings.evidence, out=found)
    user_days = drop_shares_older_than_starts(replace(user_days, own_share=memory.share), settings.evidence.starts)
    log_e, confidence = found.log_e[newest], found.posterior[newest]
    null = NullSample(np.zeros(0))
    p_value, onset_share = np.full(len(newest), np.nan), 1.0
    if model is not None:
        clusters = model.clusters_on(codes.names, number, n_watched)
        ratios = WindowRatios.empty(len(newest))
        of_scored = window_ratios(memory, scored, clusters, decay=settings.evidence.decay)
        ratios.log_ratio[scored], ratios.days_before[scored] = of_scored
        score = model.score(features(log_e, confidence, ratios), ratios.days_before)
        confidence, p_value, onset_share = score.confidence, score.p_value, model.onset_share
    elif with_p_values or settings.alerts.rule == "discovery":
        seed = [settings.seed, day_number(users.day), zlib.crc32(users.segment.encode())]
        history = user_days.take_users(scored)
        history = replace(history, category=number[history.category])
        null = permutation_null(history, n_watched, settings.evidence, seed)
        p_value, onset_share = null.p_values(log_e), null.onset_share
    return _EvidenceUpdate(
        user_days=user_days,
        profile=decay_and_add(profile, user_days, scored, settings.evidence.decay, max(len(codes), 1)),
        memory=memory,
        log_e=log_e,
        confidence=confidence,
        threshold_confidence=None if model is None else model.threshold_confidence,
        onset=found.onset[newest],
        p_value=p_value,
        onset_share=onset_share,
    )


def _q_values(users: ActiveUsers, update: _EvidenceUpdate, is_open: BoolArray, settings: Settings) -> Float64Array:
    """q-values [user] within the family of the last `FAMILY_DAYS`; nan for users who are not tested."""
    # The alert of a user whose statistic stayed above the threshold after it closed by time was reported: no new test.
    before, _, threshold = _statistic(users, update, settings.alerts)
    was_above = before >= threshold
    first = pa.scalar(users.day - timedelta(days=FAMILY_DAYS - 1), pa.date32())
    days = users.known["recent_days"].combine_chunks().flatten().field("day")
    tests, discoveries = (
        int(pc.sum(pc.greater_equal(values, first)).as_py() or 0) for values in (days, users.known["last_alert_day"])
    )
    p_value = np.where(is_open | was_above, np.nan, update.p_value)
    return q_values(p_value, tests, discoveries, update.onset_share)


def _smooth_indicators(users: ActiveUsers, settings: Settings) -> _SmoothedIndicators:
    previous = [floats(users.before[name]) for name in _SMOOTHED]
    is_recent = recent_entries(users.user_days, settings.state)
    raw = indicators(users.user_days, is_recent, len(users.codes), settings.signals)
    half_life = settings.signals.ewma_half_life_active_days
    today = (raw.change_rate, raw.interest_gap, raw.distribution_distance)
    return _SmoothedIndicators(previous, [ewma(old, new, half_life) for old, new in zip(previous, today, strict=True)])


def _advance_alerts(  # noqa: PLR0917 - the parts of one day, in the order in which they are computed
    open_alerts: OpenAlerts,
    users: ActiveUsers,
    update: _EvidenceUpdate,
    q_value: Float64Array,
    smoothed: _SmoothedIndicators,
    settings: Settings,
) -> tuple[Weights, Weights]:
    """Continue, close and open alerts, and return the long-term and the former profile."""
    context = AlertContext(
        user_days=update.user_days,
        shares=own_shares(update.user_days),
        profile=update.profile,
        former=read_weights(users.before["former_profile"], users.codes),
        n_categories=len(users.codes),
        decay=settings.evidence.decay,
    )
    ids = users.ids.to_pylist()
    if settings.alerts.detector == "evidence":
        starts = settings.evidence.starts
        open_alerts.revise_onset(update.user_days, ~np.isnan(update.log_e), starts)
        open_alerts.apply_evidence(_observation(open_alerts, users, update, q_value, settings.alerts), settings)
        open_alerts.open_by_evidence(ids, context, update.onset, starts)
        update.memory.reset(open_alerts.settled)
        return settle(context, open_alerts.settled, open_alerts.onset)
    if settings.alerts.detector == "forecast":
        before, now = _forecast_excesses(users, settings)
    else:
        before, now = (
            excess(*indicator, n_days=days.n_days, settings=settings.alerts, segment=users.segment)
            for indicator, days in ((smoothed.previous, users.previous_days), (smoothed.now, users.user_days))
        )
    open_alerts.apply_thresholds(before, now, settings.alerts)
    open_alerts.open_by_thresholds(ids, context)
    return context.profile, context.former


def _forecast_excesses(users: ActiveUsers, settings: Settings) -> tuple[Excess, Excess]:
    """The users' forecast errors before and after the day, in multiples of the day's threshold."""
    threshold = calibrated_threshold(users.known, day_number(users.day), settings)
    before, now = (
        mix_excess(newest_errors(days, len(users.codes)) / threshold, days.n_days, settings.alerts)
        for days in (users.previous_days, users.user_days)
    )
    return before, now


def _observation(
    open_alerts: OpenAlerts,
    users: ActiveUsers,
    update: _EvidenceUpdate,
    q_value: Float64Array,
    settings: AlertSettings,
) -> EvidenceObservation:
    before, now, threshold = _statistic(users, update, settings)
    return EvidenceObservation(
        before=before,
        now=now,
        threshold=threshold,
        q_value=q_value,
        scored_since_onset=open_alerts.scored_since_onset(update.user_days),
    )


def _statistic(
    users: ActiveUsers, update: _EvidenceUpdate, settings: AlertSettings
) -> tuple[Float64Array, Float64Array, float]:
    """The statistic that alerts by the rule of the settings, before and after the day [user], and its threshold."""
    if settings.rule == "flagged_share" and update.threshold_confidence is not None:
        return floats(users.before["confidence"]), update.confidence, update.threshold_confidence
    return floats(users.before["evidence"]), update.log_e, float(np.log(settings.average_run_length))


def _gap_columns(before: pa.Table, day: date) -> dict[str, pa.Array]:
    """Count, mean and mean square of the gaps between active days, with the gap that ends today."""
    last_active = before["last_active_day"].cast(pa.int32())
    gap = day_number(day) - integers(last_active, day_number(day)).astype(np.float64)
    returned = np.asarray(last_active.is_valid(), dtype=bool)
    count = integers(before["gap_count"], 0)
    return {
        "gap_count": pa.array(count + returned),
        "gap_mean_days": _running_mean(before["gap_mean_days"], count, gap, returned),
        "gap_square_mean": _running_mean(before["gap_square_mean"], count, gap**2, returned),
    }


def _running_mean(mean: pa.ChunkedArray, count: Int64Array, value: Float64Array, counts_today: BoolArray) -> pa.Array:
    old = np.nan_to_num(floats(mean))
    new = np.where(counts_today, old + (value - old) / (count + 1), old)
    return pa.array(new, mask=count + counts_today == 0)


def _previous_where_nan(value: Float64Array, before: pa.ChunkedArray) -> pa.Array:
    """`value`, and the value before where it is nan."""
    return pa.array(np.where(np.isnan(value), floats(before), value), from_pandas=True)
