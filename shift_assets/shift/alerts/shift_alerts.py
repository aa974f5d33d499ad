"""Rows of the alerts of a day: what the state opened, continued or closed, with sizes, categories and a sentence."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, CategoryCodes, Float64Array, Int64Array
from shift_assets.churn.alerts import churn_alerts
from shift_assets.contracts.day import day_number
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.interest.user_days import UserDays, read_user_days, user_day_categories
from shift_assets.interest.windows import Contrast, contrast, recent_entries
from shift_assets.settings.root import AlertSettings, Settings
from shift_assets.shift.alerts.explain import AlertDescription, CategoryChange, explain
from shift_assets.shift.alerts.lifecycle import MIX_KINDS
from shift_assets.shift.alerts.platform_mix import PlatformMix, explained_share
from shift_assets.shift.learned.selection import DetectorSelection, detector_selection, newest_check

MAXIMUM_LISTED = 5
"""Maximum number of rising, and of falling, categories of an alert."""
MINIMUM_CHANGE = 0.01
"""A category whose share changed less is neither rising nor falling: shares are shown in whole percents."""

POSTERIOR_DRAWS = 200
"""Draws of both profiles for the interval of the magnitude."""

_PARTITION = ("day", "segment")

_log = logging.getLogger(__name__)


def shift_alerts(state: pa.Table, signals: pa.Table, settings: Settings, checks: pa.Table | None = None) -> pa.Table:
    """Return `shift_alerts`: one row per alert that opened, continued or closed on the state's day, and one per churn
    warning that opened or closed.

    Old and new profile are the means of the daily score shares of the recent days before and since the onset; where
    the recent days do not reach back so far, those of the reference and the recent window. The magnitude is their
    total variation distance, its interval that of both profiles' posteriors (a Dirichlet with unit weight per day, as
    in the evidence). The severity follows the magnitude, at the cut points of the settings; for a surge or fade of the
    threshold detector it follows |log2(1 + change rate)|. Alerts opened with q-value up to q have a false discovery
    rate of q, as far as `shift.detector.calibration` fits the segment.

    Args:
        state: `interest_state` of whole (day, segment) partitions, because the segment's own move is computed from the
            recent days of all its users; any number of partitions.
        signals: `shift_signals` of the same partitions, for the score of the learned detector.
        settings: cut points and language.
        checks: rows of `detector_self_check`; the newest before a day chooses what ranks the day's alerts, and gives
            the share of users that it flagged under the permutation null.
    """
    begin = time.perf_counter()
    rows = [row for part in _partitions(state) for row in _partition_alerts(part, settings)]
    _add_ranking(rows, signals, settings, checks)
    found = SHIFT_ALERTS.conform(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))
    order = [(name, "ascending") for name in (*_PARTITION, "alert_id")]
    alerts = pa.concat_tables([found, churn_alerts(state, settings)]).sort_by(order)
    _log.info("shift alerts: %d rows of %d users in %.1f s", len(alerts), len(state), time.perf_counter() - begin)
    return alerts


def _add_ranking(rows: list[dict[str, Any]], signals: pa.Table, settings: Settings, checks: pa.Table | None) -> None:
    """Add the score that ranks each alert, and what the newest self-check found about its detector."""
    scored = signals.select([*_PARTITION, "user_id", "model_shift_score"]).drop_null()
    learned = {(row["day"], row["segment"], row["user_id"]): row["model_shift_score"] for row in scored.to_pylist()}
    chosen: dict[tuple[date, str], DetectorSelection | None] = {}
    for row in rows:
        key = (row["day"], row["segment"])
        if key not in chosen:
            chosen[key] = (
                None if checks is None else detector_selection(newest_check(checks, key[1], key[0]), settings.evidence)
            )
        selection, score = chosen[key], learned.get((*key, row["user_id"]))
        by_score = selection is not None and selection.ranking == "learned" and score is not None
        row["model_shift_score"] = score
        row["ranking"] = "learned" if by_score else "posterior"
        row["ranking_score"] = score if by_score else row["confidence"]
        row["placebo_false_share"] = selection and selection.placebo_false_share


def since_onset(user_days: UserDays, onset_day: Int64Array, settings: Settings) -> BoolArray:
    """Whether an entry belongs to the new profile, [entry].

    Where no entry lies before the onset, or none since, the recent window is the new profile. onset_day: onset of
    every user, days since 1970-01-01, [user].
    """
    after = user_days.day >= np.repeat(onset_day, user_days.n_days)
    n_after = np.bincount(user_days.user[after], minlength=user_days.n_users)
    usable = (n_after > 0) & (n_after < user_days.n_days)
    return np.where(np.repeat(usable, user_days.n_days), after, recent_entries(user_days, settings.state))


def _partitions(state: pa.Table) -> Iterator[pa.Table]:
    """The partitions in which an alert opened, continued or closed."""
    news = state.filter(state["alert_status"].is_valid()).select(list(_PARTITION))
    for key in news.group_by(list(_PARTITION)).aggregate([]).to_pylist():
        yield state.filter(pc.and_(pc.equal(state["day"], key["day"]), pc.equal(state["segment"], key["segment"])))


@dataclass(frozen=True, slots=True)
class _Profiles:
    """Old and new profiles of the users with an alert; days before and since the onset are unit days."""

    names: list[str]  # [category]
    before: Float64Array  # [alert, category], share
    after: Float64Array  # [alert, category], share
    days_before: Int64Array  # [alert]
    days_after: Int64Array  # [alert]
    events_before: Float64Array  # [alert], per active day
    events_after: Float64Array  # [alert], per active day

    def changes(self, alert: int, sign: int) -> list[CategoryChange]:
        """Categories that changed most in the direction of `sign`, largest change first."""
        move = sign * (self.after[alert] - self.before[alert])
        chosen = [code for code in np.argsort(-move, kind="stable") if move[code] > MINIMUM_CHANGE][:MAXIMUM_LISTED]
        return [
            CategoryChange(self.names[code], float(self.before[alert, code]), float(self.after[alert, code]))
            for code in chosen
        ]


def _partition_alerts(state: pa.Table, settings: Settings) -> list[dict[str, Any]]:
    """Rows of the alerts of one partition, without ranking."""
    codes = CategoryCodes(user_day_categories(state["recent_days"]))
    user_days = read_user_days(state["recent_days"], codes)
    users = np.flatnonzero(np.asarray(state["alert_status"].is_valid()))
    alerts = state.take(pa.array(users)).drop_columns(["profile", "recent_days"]).to_pylist()
    onsets = np.array([day_number(alert["alert_onset_day"]) for alert in alerts], dtype=np.int64)
    profiles = _profiles(user_days.take_users(users), onsets, codes, settings)
    platform = PlatformMix(user_days, len(codes))
    return [
        _alert_row(alert, number, profiles, platform.others_move(int(user), int(onsets[number])), settings)
        for number, (user, alert) in enumerate(zip(users, alerts, strict=True))
    ]


def _profiles(user_days: UserDays, onset_day: Int64Array, codes: CategoryCodes, settings: Settings) -> _Profiles:
    by_day = replace(user_days, score=user_days.share)
    sides = contrast(by_day, since_onset(by_day, onset_day, settings), len(codes))
    return _Profiles(
        names=codes.names.to_pylist(),
        before=_dense_shares(sides, sides.share_before(), len(codes)),
        after=_dense_shares(sides, sides.share_after(), len(codes)),
        days_before=sides.days_before,
        days_after=sides.days_after,
        events_before=sides.counts_before.sum(axis=1) / np.maximum(sides.days_before, 1),
        events_after=sides.counts_after.sum(axis=1) / np.maximum(sides.days_after, 1),
    )


def _alert_row(
    alert: dict[str, Any], number: int, profiles: _Profiles, others: Float64Array | None, settings: Settings
) -> dict[str, Any]:
    """Row of one alert; `number` is its row in `profiles`, `others` the other users' move."""
    before, after = profiles.before[number], profiles.after[number]
    move = after - before
    magnitude = float(np.clip(np.abs(move).sum() / 2, 0.0, 1.0))
    low, high = _magnitude_interval(
        before * profiles.days_before[number],
        after * profiles.days_after[number],
        [settings.seed, int(alert["alert_id"][:8], 16)],
    )
    description = AlertDescription(
        day=alert["day"],
        kind=alert["alert_kind"],
        status=alert["alert_status"],
        onset_day=alert["alert_onset_day"],
        rising=profiles.changes(number, 1),
        falling=profiles.changes(number, -1),
        events_before=float(profiles.events_before[number]),
        events_after=float(profiles.events_after[number]),
        by_mix=settings.alerts.detector == "evidence" or alert["alert_kind"] in MIX_KINDS,
    )
    return {
        **{name: alert[name] for name in ("day", "segment", "alert_id", "user_id", "confidence", "p_value", "q_value")},
        "status": description.status,
        "kind": description.kind,
        "severity": severity(description.by_mix, magnitude, alert["change_rate_ewma"], settings.alerts),
        "magnitude": magnitude,
        "magnitude_low": min(low, magnitude),
        "magnitude_high": max(high, magnitude),
        "onset_day": description.onset_day,
        "rising": [_to_row(change) for change in description.rising],
        "falling": [_to_row(change) for change in description.falling],
        "platform_share": None if others is None else explained_share(move, others),
        "explanation": explain(description, settings.alerts.language),
        "detector": settings.alerts.detector,
    }


def severity(by_mix: bool, magnitude: float, change_rate: float | None, settings: AlertSettings) -> str:
    """Return `low`, `medium` or `high`, by the cut points of the settings.

    Args:
        by_mix: whether the mix of interests changed; else the activity alone did.
        magnitude: size of an alert by the mix.
        change_rate: size of an alert by activity; None counts as no change.
        settings: the cut points.
    """
    if by_mix:
        size, cut_points = magnitude, settings.severity_magnitude
    else:
        size, cut_points = abs(float(np.log2(1.0 + (change_rate or 0.0)))), settings.severity_doublings
    return "high" if size >= cut_points[1] else "medium" if size >= cut_points[0] else "low"


def _magnitude_interval(days_before: Float64Array, days_after: Float64Array, seed: list[int]) -> tuple[float, float]:
    """5 % and 95 % quantile of the total variation distance of both profiles, given days per category, [category]."""
    met = (days_before + days_after) > 0
    random = np.random.default_rng(seed)
    spread = 1.0 / met.sum()  # one more day, spread over the categories with a score
    old, new = (random.dirichlet(days[met] + spread, POSTERIOR_DRAWS) for days in (days_before, days_after))
    low, high = np.quantile(np.abs(new - old).sum(axis=1) / 2, [0.05, 0.95])
    return float(low), float(high)


def _to_row(change: CategoryChange) -> dict[str, Any]:
    return {
        "category": change.category,
        "share_before": min(change.share_before, 1.0),
        "share_after": min(change.share_after, 1.0),
        "contribution": change.contribution(),
    }


def _dense_shares(sides: Contrast, share: Float64Array, n_categories: int) -> Float64Array:
    """Shares [user, category]; 0 where the side has no score."""
    out = np.zeros((sides.n_users, n_categories))
    out[sides.user, sides.category] = np.nan_to_num(share)
    return out
