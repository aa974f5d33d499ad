"""Precision, recall and false alerts of a detector over its thresholds, on a log with planted shifts.

Called by benchmarks only; kept for a public benchmark of detectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.evaluate.opened_alerts import opening_entries
from shift_assets.evaluate.simulated import Rate, Truth, classify_alerts, f1_score
from shift_assets.interest.histories import Histories


@dataclass(frozen=True)
class OperatingPoint:
    """Precision, recall and false alerts at a threshold, in one log or several."""

    threshold: float
    precision: Rate
    recall: Rate  # of the detectable shifts
    false_user_days: Rate

    @property
    def f1(self) -> float:
        return f1_score(self.precision, self.recall)


def thresholds_of(scores: Float64Array, n: int = 80) -> Float64Array:
    """At most `n` ascending thresholds, between those reached by a tenth of the `scores` and by a single one."""
    known = np.sort(scores[~np.isnan(scores)])
    over = np.unique(np.geomspace(1, max(len(known) // 10, 1), n).astype(np.int64))
    return np.asarray(np.unique(known[len(known) - over[: len(known)]]))


def sweep(histories: Histories, scores: Float64Array, truth: Truth, thresholds: Float64Array) -> list[OperatingPoint]:
    """Operating points of thresholds on `scores` [entry].

    Args:
        histories: The users' active days.
        scores: Score [entry] at the end of each active day.
        truth: The planted changes.
        thresholds: Thresholds [point].
    """
    user_days = histories.user_days
    n_user_days = len(truth.kind) * (truth.last_day - truth.first_day + 1)
    points = []
    for threshold in thresholds.tolist():
        entries = opening_entries(histories, scores, threshold)
        user = user_days.user[entries]
        evaluated = classify_alerts(user, user_days.day[entries], truth, np.zeros(len(entries), dtype=bool))
        n_true, n_false = len(evaluated.true), len(evaluated.false)
        found = int(truth.detectable[user[evaluated.true]].sum())
        points.append(
            OperatingPoint(
                threshold,
                Rate(n_true, n_true + n_false),
                Rate(found, int(truth.detectable.sum())),
                Rate(n_false, n_user_days),
            )
        )
    return points


def pool_points(sweeps: Sequence[Sequence[OperatingPoint]]) -> list[OperatingPoint]:
    """Pool the points of several logs, swept over the same thresholds, as if they were one log."""
    return [
        OperatingPoint(
            same[0].threshold,
            *(
                Rate(*map(sum, zip(*(getattr(point, name) for point in same), strict=True)))
                for name in ("precision", "recall", "false_user_days")
            ),
        )
        for same in zip(*sweeps, strict=True)
    ]


def best_threshold(points: Sequence[OperatingPoint]) -> float:
    """The threshold with the largest F1; of ties, the lowest."""
    return max(points, key=lambda point: (point.f1, -point.threshold)).threshold


def recall_at(points: Sequence[OperatingPoint], false_per_thousand: float) -> float:
    """Largest recall of detectable shifts with at most `false_per_thousand` false alerts per 1000 user-days, else 0."""
    allowed = [point.recall.share for point in points if point.false_user_days.per_thousand <= false_per_thousand]
    return max(allowed, default=0.0)


def share_over_threshold(histories: Histories, scores: Float64Array, truth: Truth, threshold: float) -> Rate:
    """Evaluated active days at or above `threshold`, of users without a planted change.

    A bound P(score >= A) <= 1 / A on every active day applies to this share.
    """
    user_days = histories.user_days
    mine = (
        truth.of_kind("none")[user_days.user] & (user_days.day >= truth.first_day) & (user_days.day <= truth.last_day)
    )
    with np.errstate(invalid="ignore"):
        return Rate(int((scores[mine] >= threshold).sum()), int(mine.sum()))
