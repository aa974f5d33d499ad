"""Rows of the alerts of a day: what the state opened, continued or closed, with sizes, categories and a sentence."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import CategoryCodes, Float64Array
from shift_assets.churn.alerts import churn_alerts
from shift_assets.contracts.day import day_number
from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, SHIFT_ALERTS
from shift_assets.interest.user_days import read_user_days, user_day_categories
from shift_assets.settings.root import AlertSettings, Settings
from shift_assets.shift.alerts.alert_profiles import AlertProfiles
from shift_assets.shift.alerts.detector_selection import DetectorSelection, detector_selection, newest_check
from shift_assets.shift.alerts.explain import AlertDescription, CategoryChange, Ending, explain
from shift_assets.shift.alerts.lifecycle import MIX_KINDS
from shift_assets.shift.alerts.own_drift import OwnDrift
from shift_assets.shift.alerts.platform_mix import PlatformMix, explained_share

POSTERIOR_DRAWS = 200
"""Draws of both profiles for the interval of the magnitude."""

_PARTITION = ("day", "segment")

_log = logging.getLogger(__name__)


def shift_alerts(
    state: pa.Table,
    signals: pa.Table,
    settings: Settings,
    checks: pa.Table | None = None,
    churn: pa.Table | None = None,
) -> pa.Table:
    """Return `shift_alerts`: one row per alert that opened, continued or closed on the state's day, and one per churn
    warning that opened or closed.

    Old and new profile are the means of the daily score shares of the recent days before and since the onset; where
    the recent days do not reach back so far, those of the reference and the recent window. The magnitude is their
    total variation distance, its interval that of both profiles' posteriors (a Dirichlet with unit weight per day, as
    in the evidence). The severity follows the quantile of the magnitude among the moves of the segment's users over as
    many days (`own_drift`); for a surge or fade of the threshold detector it follows |log2(1 + change rate)|. Alerts
    opened with q-value up to q have a false discovery rate of q, as far as `shift.detector.calibration` fits the
    segment.

    Args:
        state: `interest_state` of whole (day, segment) partitions, because the segment's own move is computed from the
            recent days of all its users; any number of partitions.
        signals: `shift_signals` of the same partitions, for the score of the learned detector.
        settings: cut points and language.
        checks: rows of `detector_self_check`; the newest before a day chooses what ranks the day's alerts, and gives
            the share of users that it flagged under the permutation null.
        churn: `churn_predictions` of the same partitions; without them there are no churn warnings.
    """
    begin = time.perf_counter()
    rows = [row for part in _partitions(state) for row in _partition_alerts(part, settings)]
    _add_ranking(rows, signals, settings, checks)
    found = SHIFT_ALERTS.conform(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))
    order = [(name, "ascending") for name in (*_PARTITION, "alert_id")]
    warnings = SHIFT_ALERTS.empty() if churn is None else churn_alerts(churn, settings)
    alerts = pa.concat_tables([found, warnings]).sort_by(order)
    _log.info("shift alerts: %d rows of %d users in %.1f s", len(alerts), len(state), time.perf_counter() - begin)
    return alerts


def _add_ranking(rows: list[dict[str, Any]], signals: pa.Table, settings: Settings, checks: pa.Table | None) -> None:
    """Add the score that ranks each alert, and what the newest self-check found about its detector."""
    scored = signals.select([*_PARTITION, "user_id", "model_shift_score"]).drop_null()
    learned = {(row["day"], row["segment"], row["user_id"]): row["model_shift_score"] for row in scored.to_pylist()}
    checks = DETECTOR_SELF_CHECK.empty() if checks is None else checks
    chosen: dict[tuple[date, str], DetectorSelection] = {}
    for row in rows:
        key = (row["day"], row["segment"])
        if key not in chosen:
            chosen[key] = detector_selection(newest_check(checks, key[1], key[0]), settings.evidence)
        selection = chosen[key]
        row["model_shift_score"] = learned.get((*key, row["user_id"]))
        row["ranking"] = selection.ranking
        row["ranking_score"] = row["confidence"]
        row["found_share"], row["flagged_share"] = selection.found_share, selection.flagged_share


def _partitions(state: pa.Table) -> Iterator[pa.Table]:
    """The partitions in which an alert opened, continued or closed."""
    news = state.filter(state["alert_status"].is_valid()).select(list(_PARTITION))
    for key in news.group_by(list(_PARTITION)).aggregate([]).to_pylist():
        yield state.filter(pc.and_(pc.equal(state["day"], key["day"]), pc.equal(state["segment"], key["segment"])))


def _partition_alerts(state: pa.Table, settings: Settings) -> list[dict[str, Any]]:
    """Rows of the alerts of one partition, without ranking."""
    codes = CategoryCodes(user_day_categories(state["recent_days"]))
    user_days = read_user_days(state["recent_days"], codes)
    users = np.flatnonzero(np.asarray(state["alert_status"].is_valid()))
    alerts = state.take(pa.array(users)).drop_columns(["profile", "recent_days"]).to_pylist()
    onsets = np.array([day_number(alert["alert_onset_day"]) for alert in alerts], dtype=np.int64)
    profiles = AlertProfiles.since(user_days.take_users(users), onsets, codes, settings.state)
    rising, falling = (profiles.changes(sign).to_pylist() for sign in (1, -1))
    platform = PlatformMix(user_days, len(codes))
    quantile = OwnDrift(user_days, codes).quantile_of(profiles.magnitude, profiles.sides.days_after)
    return [
        _alert_row(
            alert | {"rising": rising[number], "falling": falling[number]},
            _Move.of(profiles, number, float(quantile[number]), platform.others_move(int(user), int(onsets[number]))),
            settings,
        )
        for number, (user, alert) in enumerate(zip(users, alerts, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class _Move:
    """Move of one user's profile over the categories with a score."""

    days_before: Float64Array  # [category], days before the onset
    days_after: Float64Array  # [category], days since the onset
    magnitude: float
    quantile: float  # among the moves of the segment's users; nan where these are too few
    platform_share: float | None
    events_before: float  # per active day
    events_after: float  # per active day

    @classmethod
    def of(cls, profiles: AlertProfiles, number: int, quantile: float, others: Float64Array | None) -> _Move:
        """Return the move of user `number` of the profiles; `others` is that of the other users, [category]."""
        sides, cells = profiles.sides, profiles.cells_of(number)
        n_before, n_after = int(sides.days_before[number]), int(sides.days_after[number])
        return cls(
            days_before=profiles.before[cells] * n_before,
            days_after=profiles.after[cells] * n_after,
            magnitude=float(profiles.magnitude[number]),
            quantile=quantile,
            platform_share=None if others is None else explained_share(profiles.move_of(number), others),
            events_before=float(sides.counts_before[number].sum() / max(n_before, 1)),
            events_after=float(sides.counts_after[number].sum() / max(n_after, 1)),
        )


def _alert_row(alert: dict[str, Any], move: _Move, settings: Settings) -> dict[str, Any]:
    """Row of one alert; `alert` has the columns of its user's state, and what rose and fell."""
    low, high = _magnitude_interval(move.days_before, move.days_after, [settings.seed, int(alert["alert_id"][:8], 16)])
    description = AlertDescription(
        day=alert["day"],
        kind=alert["alert_kind"],
        ending=_ending(alert, float(move.days_after.sum()), settings.evidence.starts),
        onset_day=alert["alert_onset_day"],
        first_onset_day=alert["alert_first_onset_day"],
        rising=[CategoryChange.of(change) for change in alert["rising"]],
        falling=[CategoryChange.of(change) for change in alert["falling"]],
        events_before=move.events_before,
        events_after=move.events_after,
        by_mix=settings.alerts.detector == "evidence" or alert["alert_kind"] in MIX_KINDS,
    )
    severity, quantile = severity_by_activity(alert["change_rate_ewma"], settings.alerts), None
    if description.by_mix:
        severity = severity_by_mix(move.quantile, settings.alerts)
        quantile = None if math.isnan(move.quantile) else move.quantile
    copied = ("day", "segment", "alert_id", "user_id", "confidence", "p_value", "q_value", "rising", "falling")
    return {
        **{name: alert[name] for name in copied},
        "status": alert["alert_status"],
        "kind": description.kind,
        "severity": severity,
        "magnitude_quantile": quantile,
        "magnitude": move.magnitude,
        "magnitude_low": min(low, move.magnitude),
        "magnitude_high": max(high, move.magnitude),
        "onset_day": description.onset_day,
        "first_onset_day": description.first_onset_day,
        "platform_share": move.platform_share,
        "explanation": explain(description, settings.alerts.language),
        "detector": settings.alerts.detector,
    }


def _ending(alert: dict[str, Any], days_since_onset: float, starts: int) -> Ending | None:
    """Why an alert closed, by the rules of `lifecycle`; None for an open one."""
    if alert["alert_status"] != "closed":
        return None
    if alert["last_active_day"] < alert["day"]:
        return "lapsed"
    return "settled" if days_since_onset >= starts else "faded"


def severity_by_mix(quantile: float, settings: AlertSettings) -> str:
    """Return `low`, `medium` or `high` for an alert of a changed mix of interests.

    Args:
        quantile: that of the magnitude among the moves of the segment's users; nan, where these are too few, is
            `medium`: such an alert is neither held back nor put forward.
        settings: the quantiles from which an alert is medium and high.
    """
    return "medium" if math.isnan(quantile) else _level(quantile, settings.severity_quantiles)


def severity_by_activity(change_rate: float | None, settings: AlertSettings) -> str:
    """Return `low`, `medium` or `high` for an alert of changed activity alone; None counts as no change."""
    return _level(abs(float(np.log2(1.0 + (change_rate or 0.0)))), settings.severity_doublings)


def _level(size: float, cut_points: tuple[float, float]) -> str:
    return "high" if size >= cut_points[1] else "medium" if size >= cut_points[0] else "low"


def _magnitude_interval(days_before: Float64Array, days_after: Float64Array, seed: list[int]) -> tuple[float, float]:
    """5 % and 95 % quantile of the total variation distance of both profiles, given days per category, [category]."""
    met = (days_before + days_after) > 0
    random = np.random.default_rng(seed)
    spread = 1.0 / met.sum()  # one more day, spread over the categories with a score
    old, new = (random.dirichlet(days[met] + spread, POSTERIOR_DRAWS) for days in (days_before, days_after))
    low, high = np.quantile(np.abs(new - old).sum(axis=1) / 2, [0.05, 0.95])
    return float(low), float(high)
