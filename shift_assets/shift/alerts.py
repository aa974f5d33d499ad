"""The alarms of a day, told: what the state opened, continued or closed, with sizes, categories and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts import SHIFT_ALERTS
from shift_assets.days import day_number
from shift_assets.settings import AlertSettings, Settings
from shift_assets.shift.choice import Choice, choice, newest_check
from shift_assets.shift.churn_alerts import churn_alerts
from shift_assets.shift.episodes import MIX_KINDS
from shift_assets.shift.explain import CategoryChange, Story, explain
from shift_assets.shift.platform import PlatformMix, explained_share
from shift_assets.shift.rings import CategoryCodes, Flags, Floats, Ints, Rings, read_rings, ring_categories
from shift_assets.shift.windows import Contrast, contrast, recent_entries

LISTED = 5
"""Rising and falling categories listed at most."""
LEAST_CHANGE = 0.01
"""A category whose share moved less is neither rising nor falling: shares are told in whole percents."""

DRAWS = 200
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
    chosen: dict[tuple[date, str], Choice | None] = {}
    for row in rows:
        key = (row["day"], row["segment"])
        if key not in chosen:
            chosen[key] = None if checks is None else choice(newest_check(checks, key[1], key[0]), settings.evidence)
        of_day, score = chosen[key], learned.get((*key, row["user_id"]))
        by_score = of_day is not None and of_day.ranking == "learned" and score is not None
        row["model_shift_score"] = score
        row["ranking"] = "learned" if by_score else "posterior"
        row["ranking_score"] = score if by_score else row["confidence"]
        row["placebo_false_share"] = of_day and of_day.placebo_false_share
    found = SHIFT_ALERTS.conform(pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema))
    order = [(name, "ascending") for name in (*_PARTITION, "alert_id")]
    return pa.concat_tables([found, churn_alerts(state, settings)]).sort_by(order)


def since_onset(rings: Rings, onset_day: Ints, settings: Settings) -> Flags:
    """Which entries [entry] belong to the new profile, given every user's onset [user] in days since 1970-01-01.

    Where no entry lies before the onset, or none since, the recent window is the new profile.
    """
    after = rings.day >= np.repeat(onset_day, rings.n_days)
    n_after = np.bincount(rings.user[after], minlength=rings.n_users)
    usable = (n_after > 0) & (n_after < rings.n_days)
    return np.where(np.repeat(usable, rings.n_days), after, recent_entries(rings, settings.state))


def _partitions(state: pa.Table) -> Iterator[pa.Table]:
    """The partitions in which some alarm has news."""
    news = state.filter(state["alert_status"].is_valid()).select(list(_PARTITION))
    for key in news.group_by(list(_PARTITION)).aggregate([]).to_pylist():
        yield state.filter(pc.and_(pc.equal(state["day"], key["day"]), pc.equal(state["segment"], key["segment"])))


def _partition_alerts(state: pa.Table, settings: Settings) -> list[dict[str, Any]]:
    codes = CategoryCodes(ring_categories(state["recent_days"]))
    rings = read_rings(state["recent_days"], codes)
    users = np.flatnonzero(np.asarray(state["alert_status"].is_valid()))
    alarms = state.take(pa.array(users)).drop_columns(["profile", "recent_days"]).to_pylist()
    onsets = np.array([day_number(alarm["alert_onset_day"]) for alarm in alarms], dtype=np.int64)
    own = rings.take_users(users)
    own = replace(own, score=own.share)
    sides = contrast(own, since_onset(own, onsets, settings), len(codes))
    before, after = _dense(sides, sides.share_before(), len(codes)), _dense(sides, sides.share_after(), len(codes))
    platform = PlatformMix(rings, len(codes))
    names = codes.names.to_pylist()
    rows = []
    for row, (user, alarm) in enumerate(zip(users, alarms, strict=True)):
        move = after[row] - before[row]
        others = platform.others_move(int(user), int(onsets[row]))
        magnitude = float(np.clip(np.abs(move).sum() / 2, 0.0, 1.0))
        n_days = (int(sides.days_before[row]), int(sides.days_after[row]))
        low, high = _magnitude_interval(
            before[row] * n_days[0], after[row] * n_days[1], [settings.seed, int(alarm["alert_id"][:8], 16)]
        )
        story = Story(
            day=alarm["day"],
            kind=alarm["alert_kind"],
            status=alarm["alert_status"],
            onset_day=alarm["alert_onset_day"],
            rising=_changes(np.argsort(-move, kind="stable"), move > LEAST_CHANGE, names, before[row], after[row]),
            falling=_changes(np.argsort(move, kind="stable"), move < -LEAST_CHANGE, names, before[row], after[row]),
            events_before=float(sides.counts_before[row].sum() / max(sides.days_before[row], 1)),
            events_after=float(sides.counts_after[row].sum() / max(sides.days_after[row], 1)),
            by_mix=settings.alerts.detector == "evidence" or alarm["alert_kind"] in MIX_KINDS,
        )
        rows.append(
            {
                "day": alarm["day"],
                "segment": alarm["segment"],
                "alert_id": alarm["alert_id"],
                "user_id": alarm["user_id"],
                "status": story.status,
                "kind": story.kind,
                "severity": severity(story.by_mix, magnitude, alarm["change_rate_ewma"], settings.alerts),
                "magnitude": magnitude,
                "magnitude_low": min(low, magnitude),
                "magnitude_high": max(high, magnitude),
                "confidence": alarm["confidence"],
                "p_value": alarm["p_value"],
                "q_value": alarm["q_value"],
                "onset_day": story.onset_day,
                "rising": [_as_row(change) for change in story.rising],
                "falling": [_as_row(change) for change in story.falling],
                "platform_share": None if others is None else explained_share(move, others),
                "explanation": explain(story, settings.alerts.language),
                "detector": settings.alerts.detector,
            }
        )
    return rows


def severity(by_mix: bool, magnitude: float, change_rate: float | None, settings: AlertSettings) -> str:
    """`low`, `medium` or `high`, by the cut points of the settings.

    change_rate: null counts as no change; only an alarm that the mix has no part in looks at it.
    """
    if by_mix:
        size, cuts = magnitude, settings.severity_magnitude
    else:
        size, cuts = abs(float(np.log2(1.0 + (change_rate or 0.0)))), settings.severity_doublings
    return "high" if size >= cuts[1] else "medium" if size >= cuts[0] else "low"


def _magnitude_interval(days_before: Floats, days_after: Floats, seed: list[int]) -> tuple[float, float]:
    """5 % and 95 % quantile of the total variation distance of both profiles; days per category, [category]."""
    met = (days_before + days_after) > 0
    random = np.random.default_rng(seed)
    spread = 1.0 / met.sum()  # one more day, spread over the categories met
    old, new = (random.dirichlet(days[met] + spread, DRAWS) for days in (days_before, days_after))
    low, high = np.quantile(np.abs(new - old).sum(axis=1) / 2, [0.05, 0.95])
    return float(low), float(high)


def _changes(order: Ints, moved: Flags, names: list[str], before: Floats, after: Floats) -> list[CategoryChange]:
    chosen = [code for code in order if moved[code]][:LISTED]
    return [CategoryChange(names[code], float(before[code]), float(after[code])) for code in chosen]


def _as_row(change: CategoryChange) -> dict[str, Any]:
    return {
        "category": change.category,
        "share_before": min(change.share_before, 1.0),
        "share_after": min(change.share_after, 1.0),
        "contribution": change.contribution(),
    }


def _dense(sides: Contrast, share: Floats, n_categories: int) -> Floats:
    """Shares [user, category]; 0 where the side holds no score."""
    out = np.zeros((sides.n_users, n_categories))
    out[sides.user, sides.category] = np.nan_to_num(share)
    return out
