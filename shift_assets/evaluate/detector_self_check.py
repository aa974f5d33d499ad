"""The weekly self-check: evaluate detectors, choose their windows and train a detector on a segment's recent log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, DONORS
from shift_assets.evaluate.splice_metrics import DetectorMetrics, advantage, detector_metrics, flagged_shares
from shift_assets.evaluate.splices import E_VALUE, LEARNED, POSTERIOR, DetectorScores, run_protocol
from shift_assets.interest.histories import histories
from shift_assets.outcomes.estimates import Estimate
from shift_assets.settings.root import EvidenceSettings, Settings
from shift_assets.shift.detector.base import Detector, EValue, Posterior
from shift_assets.shift.learned.shift_model import ShiftModel, fit
from shift_assets.shift.learned.splices import PARTIAL, UNSPLICED, Construction

PERMUTATION_NULL = Construction("odd_even", 1.0)
CHECKED_CONSTRUCTIONS = (
    UNSPLICED,
    PERMUTATION_NULL,
    *(Construction(donor) for donor in DONORS),
    Construction("random", PARTIAL),
)
SPLICE_POINTS = 80
"""Splice points of the training; fewer than in `evaluate shifts`, because this runs every week in every segment."""


class Limits(NamedTuple):
    """Windows that a check tries, and users that it needs."""

    starts: tuple[int, ...] = (8, 12, 20)
    """Values of `evidence.starts` to choose from."""
    posterior_windows: tuple[int, ...] = (5, 8, 12)
    """Values of `evidence.posterior_window` to choose from."""
    active_days: int = 8
    """Active days that a user needs before a splice point and from it on."""
    minimum_users: int = 30
    """Fewest users with that many days for an evaluation."""
    bootstrap_samples: int = 100
    """Bootstrap samples of every interval."""


LIMITS = Limits()


class SelfCheck(NamedTuple):
    """Rows of `detector_self_check`, with empty model columns, and the trained detector where one was evaluated."""

    rows: pa.Table
    model: ShiftModel | None

    def with_model_path(self, path: str | None, digest: str | None) -> pa.Table:
        """The rows, with the model's path and digest in those of the learned detector."""
        rows = self.rows
        is_learned = pc.equal(rows["detector"], LEARNED)
        for name, value in (("model_path", path), ("model_digest", digest)):
            filled = pc.if_else(is_learned, pa.scalar(value, pa.string()), pa.scalar(None, pa.string()))
            rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), filled)
        return rows


class _Candidate(NamedTuple):
    detector: str
    starts: int | None
    posterior_window: int | None
    scorer: Detector | None


def self_check(series: pa.Table, day: date, segment: str, settings: Settings, limits: Limits = LIMITS) -> SelfCheck:
    """Evaluate the detectors on spliced histories of one segment, and choose among them.

    A window other than the settings' is chosen only where it is better with the whole bootstrap interval of the
    difference above 0, and the learned detector only where it is better than the posterior in the same sense. For the
    e-value better means more shifts found at the threshold; for ranking detectors a higher AUC; each after all active
    days.

    Args:
        series: `interest_series` of the segment for the window that ends on `day`.
        day: Day of the rows.
        segment: The segment's key.
        settings: Settings of the home.
        limits: Windows to try, and users needed.
    """
    check = settings.self_check
    found = histories(series)
    users = int((found.user_days.n_days >= 2 * limits.active_days).sum())
    if users < limits.minimum_users:
        return SelfCheck(_table([_too_few_users(day, segment, users, check.window_days, limits)]), None)
    candidates = _candidates(settings.evidence, limits)
    scored = list(
        run_protocol(
            found,
            segment,
            {name: one.scorer for name, one in candidates.items() if one.scorer is not None},
            seed=settings.seed,
            active_days=limits.active_days,
            maximum_users=check.maximum_users,
            constructions=CHECKED_CONSTRUCTIONS,
            training_splice_points=SPLICE_POINTS,
        )
    )
    chosen = _chosen(scored, candidates, settings, limits)
    rows = list(_rows(scored, candidates, chosen, settings, limits))
    model = None
    if any(row["detector"] == LEARNED for row in rows):
        model = fit(
            found, limits.active_days, settings.seed, maximum_users=check.maximum_users, n_splice_points=SPLICE_POINTS
        )
    return SelfCheck(
        _table([{"day": day, "segment": segment, "n_users": min(users, check.maximum_users), **row} for row in rows]),
        model,
    )


def _candidates(evidence: EvidenceSettings, limits: Limits) -> dict[str, _Candidate]:
    """Candidates by name; those with the settings' own value come first, as the default to improve on."""
    starts = dict.fromkeys((evidence.starts, *limits.starts))
    windows = dict.fromkeys((evidence.posterior_window, *limits.posterior_windows))
    e_values = [
        _Candidate(E_VALUE, value, None, EValue(evidence.model_copy(update={"starts": value}))) for value in starts
    ]
    posteriors = [
        _Candidate(
            POSTERIOR, evidence.starts, value, Posterior(evidence.model_copy(update={"posterior_window": value}))
        )
        for value in windows
    ]
    every = [*e_values, *posteriors, _Candidate(LEARNED, None, None, None)]
    return {
        one.detector if one.scorer is None else f"{one.detector} {one.posterior_window or one.starts}": one
        for one in every
    }


def _chosen(
    scored: Sequence[DetectorScores], candidates: dict[str, _Candidate], settings: Settings, limits: Limits
) -> set[str]:
    """Names of one e-value, one posterior, and the learned detector where it is better than that posterior."""

    def gain(name: str, over: str, patience: float | None = None) -> Estimate:
        return advantage(
            scored,
            name,
            over,
            samples=limits.bootstrap_samples,
            seed=settings.seed,
            day=limits.active_days,
            patience=patience,
        )

    best = {}
    for detector, patience in ((E_VALUE, settings.alerts.average_run_length), (POSTERIOR, None)):
        default, *others = [name for name, one in candidates.items() if one.detector == detector]
        gains = {name: gain(name, default, patience) for name in others}
        better = [name for name in others if gains[name].low > 0]
        best[detector] = max(better, key=lambda name: gains[name].value, default=default)
    chosen = set(best.values())
    was_trained = any(one.detector == LEARNED for one in scored)
    if was_trained and gain(LEARNED, best[POSTERIOR]).low > 0:
        chosen.add(LEARNED)
    return chosen


def _rows(
    scored: Sequence[DetectorScores],
    candidates: dict[str, _Candidate],
    chosen: set[str],
    settings: Settings,
    limits: Limits,
) -> Iterator[dict[str, Any]]:
    samples, seed = limits.bootstrap_samples, settings.seed
    found = detector_metrics(scored, samples=samples, seed=seed)
    null_shares = {
        (row.detector, row.active_days): row.recall_at_5_percent for row in found if row.kind == PERMUTATION_NULL.kind
    }
    whole = {}
    for name, one in candidates.items():
        if one.detector != E_VALUE:
            continue
        thresholds = [settings.alerts.average_run_length]
        for flagged in flagged_shares(scored, detector=name, samples=samples, seed=seed, thresholds=thresholds):
            if flagged.kind == PERMUTATION_NULL.kind:
                null_shares[name, flagged.active_days] = flagged.share
            elif flagged.kind == UNSPLICED.kind:
                whole[name, flagged.active_days] = flagged
    for row in found:
        if row.kind not in DONORS:
            continue
        candidate, key = candidates[row.detector], (row.detector, row.active_days)
        yield {
            "detector": candidate.detector,
            "starts": candidate.starts,
            "posterior_window": candidate.posterior_window,
            "kind": row.kind,
            "kept": row.kept,
            "active_days": row.active_days,
            "n_cases": row.cases,
            "donor_distance": _finite(row.donor_distance),
            **_metric_columns(row),
            **_estimate_columns("placebo_false_share", null_shares[key]),
            **(_estimate_columns("flagged_share", whole[key].share) if key in whole else {}),
            "flagged_bound": whole[key].bound if key in whole else None,
            "chosen": row.detector in chosen,
        }


def _metric_columns(row: DetectorMetrics) -> dict[str, float | None]:
    estimates = ("auc", "average_precision", "recall_at_1_percent", "recall_at_5_percent")
    return {name: value for each in estimates for name, value in _estimate_columns(each, getattr(row, each)).items()}


def _estimate_columns(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {
        name: _finite(estimate.value),
        f"{name}_low": _finite(estimate.low),
        f"{name}_high": _finite(estimate.high),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _too_few_users(day: date, segment: str, users: int, window_days: int, limits: Limits) -> dict[str, Any]:
    return {
        "day": day,
        "segment": segment,
        "detector": "none",
        "n_users": users,
        "n_cases": 0,
        "chosen": False,
        "note": f"{users} users have {limits.active_days} active days on both sides of a splice in the last "
        f"{window_days} days; {limits.minimum_users} are needed",
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=DETECTOR_SELF_CHECK.schema)
