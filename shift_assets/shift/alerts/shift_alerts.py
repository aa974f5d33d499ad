"""The alarms of a day, told: what the state opened, continued or closed, with sizes, categories and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
"""Rising and falling categories listed at most."""
MINIMUM_CHANGE = 0.01
"""A category whose share moved less is neither rising nor falling: shares are told in whole percents."""

POSTERIOR_DRAWS = 200
"""Draws of both profiles behind the interval of the magnitude."""

_PARTITION = ("day", "segment")


def shift_alerts(state: pa.Table, signals: pa.Table, settings: Settings, checks: pa.Table | None = None) -> pa.Table:
    """`shift_alerts`: one row per user whose alarm the state opened, continued or closed on its day, and one per
    churn warning that opened or closed.

    state: `interest_state` of whole (day, segment) partitions, because the segment's own move is read from the
    rings of all its users; any number of partitions. signals: `shift_signals` of the same; gives the learned
    detector's score. checks: rows of `detector_self_check`; the newest before a day says what ranks the day's
    alarms, and how many of the users it knew to be steady it flagged.

    Old and new profile are the means of the daily score shares of the ring's days before and since the onset; where
    the ring no longer reaches back so far, those of the reference and the recent window. Magnitude is their total
    variation distance, its interval that of both profiles' posteriors (a Dirichlet with unit weight per day, as the
    evidence has it). Severity is told by magnitude, at the cut points of the settings; that of a surge or fade of the
    threshold detector by |log2(1 + change rate)|.

    Those opened with q-value up to q are a list whose share of false alarms is q, as far as `shift.calibration` is
    right about the segment.
    """
    rows = [row for part in _partitions(state) for row in _partition_alerts(part, settings)]
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
    found = SHIFT_ALERTS.conform(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))
    order = [(name, "ascending") for name in (*_PARTITION, "alert_id")]
    return pa.concat_tables([found, churn_alerts(state, settings)]).sort_by(order)


def since_onset(user_days: UserDays, onset_day: Int64Array, settings: Settings) -> BoolArray:
    """Which entries [entry] belong to the new profile, given every user's onset [user] in days since 1970-01-01.

    Where no entry lies before the onset, or none since, the recent window is the new profile.
    """
    after = user_days.day >= np.repeat(onset_day, user_days.n_days)
    n_after = np.bincount(user_days.user[after], minlength=user_days.n_users)
    usable = (n_after > 0) & (n_after < user_days.n_days)
    return np.where(np.repeat(usable, user_days.n_days), after, recent_entries(user_days, settings.state))


def _partitions(state: pa.Table) -> Iterator[pa.Table]:
    """The partitions in which some alarm has news."""
    news = state.filter(state["alert_status"].is_valid()).select(list(_PARTITION))
    for key in news.group_by(list(_PARTITION)).aggregate([]).to_pylist():
        yield state.filter(pc.and_(pc.equal(state["day"], key["day"]), pc.equal(state["segment"], key["segment"])))


def _partition_alerts(state: pa.Table, settings: Settings) -> list[dict[str, Any]]:
    codes = CategoryCodes(user_day_categories(state["recent_days"]))
    user_days = read_user_days(state["recent_days"], codes)
    users = np.flatnonzero(np.asarray(state["alert_status"].is_valid()))
    alerts = state.take(pa.array(users)).drop_columns(["profile", "recent_days"]).to_pylist()
    onsets = np.array([day_number(alert["alert_onset_day"]) for alert in alerts], dtype=np.int64)
    own = user_days.take_users(users)
    own = replace(own, score=own.share)
    sides = contrast(own, since_onset(own, onsets, settings), len(codes))
    before, after = (
        _dense_shares(sides, sides.share_before(), len(codes)),
        _dense_shares(sides, sides.share_after(), len(codes)),
    )
    platform = PlatformMix(user_days, len(codes))
    names = codes.names.to_pylist()
    rows = []
    for row, (user, alert) in enumerate(zip(users, alerts, strict=True)):
        move = after[row] - before[row]
        others = platform.others_move(int(user), int(onsets[row]))
        magnitude = float(np.clip(np.abs(move).sum() / 2, 0.0, 1.0))
        n_days = (int(sides.days_before[row]), int(sides.days_after[row]))
        low, high = _magnitude_interval(
            before[row] * n_days[0], after[row] * n_days[1], [settings.seed, int(alert["alert_id"][:8], 16)]
        )
        description = AlertDescription(
            day=alert["day"],
            kind=alert["alert_kind"],
            status=alert["alert_status"],
            onset_day=alert["alert_onset_day"],
            rising=_changes(np.argsort(-move, kind="stable"), move > MINIMUM_CHANGE, names, before[row], after[row]),
            falling=_changes(np.argsort(move, kind="stable"), move < -MINIMUM_CHANGE, names, before[row], after[row]),
            events_before=float(sides.counts_before[row].sum() / max(sides.days_before[row], 1)),
            events_after=float(sides.counts_after[row].sum() / max(sides.days_after[row], 1)),
            by_mix=settings.alerts.detector == "evidence" or alert["alert_kind"] in MIX_KINDS,
        )
        rows.append(
            {
                "day": alert["day"],
                "segment": alert["segment"],
                "alert_id": alert["alert_id"],
                "user_id": alert["user_id"],
                "status": description.status,
                "kind": description.kind,
                "severity": severity(description.by_mix, magnitude, alert["change_rate_ewma"], settings.alerts),
                "magnitude": magnitude,
                "magnitude_low": min(low, magnitude),
                "magnitude_high": max(high, magnitude),
                "confidence": alert["confidence"],
                "p_value": alert["p_value"],
                "q_value": alert["q_value"],
                "onset_day": description.onset_day,
                "rising": [_to_row(change) for change in description.rising],
                "falling": [_to_row(change) for change in description.falling],
                "platform_share": None if others is None else explained_share(move, others),
                "explanation": explain(description, settings.alerts.language),
                "detector": settings.alerts.detector,
            }
        )
    return rows


def severity(by_mix: bool, magnitude: float, change_rate: float | None, settings: AlertSettings) -> str:
    """`low`, `medium` or `high`, by the cut points of the settings.

    change_rate: null counts as no change; only an alarm that the mix has no part in looks at it.
    """
    if by_mix:
        size, cut_points = magnitude, settings.severity_magnitude
    else:
        size, cut_points = abs(float(np.log2(1.0 + (change_rate or 0.0)))), settings.severity_doublings
    return "high" if size >= cut_points[1] else "medium" if size >= cut_points[0] else "low"


def _magnitude_interval(days_before: Float64Array, days_after: Float64Array, seed: list[int]) -> tuple[float, float]:
    """5 % and 95 % quantile of the total variation distance of both profiles; days per category, [category]."""
    met = (days_before + days_after) > 0
    random = np.random.default_rng(seed)
    spread = 1.0 / met.sum()  # one more day, spread over the categories met
    old, new = (random.dirichlet(days[met] + spread, POSTERIOR_DRAWS) for days in (days_before, days_after))
    low, high = np.quantile(np.abs(new - old).sum(axis=1) / 2, [0.05, 0.95])
    return float(low), float(high)


def _changes(
    order: Int64Array, moved: BoolArray, names: list[str], before: Float64Array, after: Float64Array
) -> list[CategoryChange]:
    chosen = [code for code in order if moved[code]][:MAXIMUM_LISTED]
    return [CategoryChange(names[code], float(before[code]), float(after[code])) for code in chosen]


def _to_row(change: CategoryChange) -> dict[str, Any]:
    return {
        "category": change.category,
        "share_before": min(change.share_before, 1.0),
        "share_after": min(change.share_after, 1.0),
        "contribution": change.contribution(),
    }


def _dense_shares(sides: Contrast, share: Float64Array, n_categories: int) -> Float64Array:
    """Shares [user, category]; 0 where the side holds no score."""
    out = np.zeros((sides.n_users, n_categories))
    out[sides.user, sides.category] = np.nan_to_num(share)
    return out
