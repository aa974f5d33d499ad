"""The weekly self-check: evaluate the detectors on a segment's own log, and fit the learned one with its threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.shift import DETECTOR_SELF_CHECK, DONORS
from shift_assets.evaluate.splice_metrics import (
    DetectorMetrics,
    detector_metrics,
    recall_where_flagged,
    shares_over,
)
from shift_assets.evaluate.splices import (
    E_VALUE,
    KNOWN_CUT,
    LEARNED,
    POSTERIOR,
    Alerting,
    DetectorScores,
    run_protocol,
    with_context_users,
)
from shift_assets.interest.histories import histories
from shift_assets.outcomes.estimates import Estimate
from shift_assets.settings.root import Settings
from shift_assets.shift.detector.base import EValue, Posterior
from shift_assets.shift.detector.memory import pool_rare_categories
from shift_assets.shift.learned.shift_model import MINIMUM_USERS, TRAINING_DAYS_BEFORE, ShiftModel, fit
from shift_assets.shift.learned.splices import PARTIAL, SPLICED, UNSPLICED, Construction

CHECKED_CONSTRUCTIONS = (UNSPLICED, *(Construction(donor) for donor in DONORS), Construction("random", PARTIAL))
ACTIVE_DAYS = 8
"""Active days within which an alert should open, and that a user needs from a splice point on."""
BOOTSTRAP_SAMPLES = 100
HARDLY_DISTINGUISHABLE = 0.65
"""AUC with a known splice point below which no detector can do much."""
_SENTENCES = {
    "en": "Of users replaced by another, found within {days} active days at this threshold: {found}; of unchanged "
    "users flagged: {flagged}. With the splice point known, as many flagged would find {bound}.",
    "zh": "若用户被换成另一人，在 {days} 个活跃日内以此阈值发现：{found}；未变化的用户被误报：{flagged}。"
    "若已知变化时点，同样的误报率可发现 {bound}。",
}
_WARNINGS = {
    "en": " On this log a replaced user can hardly be distinguished from an unchanged one (AUC {auc:.2f} with the "
    "splice point known): deliver finer categories, or let them be learned (categories: {{from: cooccurrence}}).",
    "zh": " 在此日志中，几乎无法区分被替换的用户与未变化的用户（已知变化时点时 AUC 为 {auc:.2f}）："
    "请提供更细的类目，或改用学习得到的类目（categories: {{from: cooccurrence}}）。",
}


class SelfCheck(NamedTuple):
    """Rows of `detector_self_check`, with empty model columns, and the learned detector where it was chosen."""

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


def self_check(series: pa.Table, day: date, segment: str, settings: Settings) -> SelfCheck:
    """Evaluate the detectors on spliced histories of one segment, and fit the one that alerts until the next check.

    The learned detector alerts where there are enough users to fit it. Every figure is of users on whom nothing was
    fitted.

    Args:
        series: `interest_series` of the segment for the window that ends on `day`.
        day: Day of the rows.
        segment: The segment's key.
        settings: Settings of the home.
    """
    check = settings.self_check
    alerting = Alerting(settings.evidence, settings.alerts.flagged_share)
    found = pool_rare_categories(histories(series))
    users = int((found.user_days.n_days >= TRAINING_DAYS_BEFORE + ACTIVE_DAYS).sum())
    if users < MINIMUM_USERS:
        return SelfCheck(_table([_too_few_users(day, segment, users, check.window_days)]), None)
    scored = list(
        run_protocol(
            found,
            segment,
            {E_VALUE: EValue(settings.evidence), POSTERIOR: Posterior(settings.evidence)},
            seed=settings.seed,
            alerting=alerting,
            active_days=ACTIVE_DAYS,
            days_before=TRAINING_DAYS_BEFORE,
            maximum_users=check.maximum_users,
            constructions=CHECKED_CONSTRUCTIONS,
        )
    )
    model = fit(
        with_context_users(
            found,
            ACTIVE_DAYS,
            settings.seed,
            days_before=TRAINING_DAYS_BEFORE,
            maximum_users=check.maximum_users,
        ),
        ACTIVE_DAYS,
        settings.seed,
        evidence=alerting.evidence,
        flagged_share=alerting.flagged_share,
        maximum_users=check.maximum_users,
    )
    # The learned detector includes the e-value at a threshold of its own.
    chosen = LEARNED if model is not None and any(one.detector == LEARNED for one in scored) else E_VALUE
    common = {"day": day, "segment": segment, "n_users": min(users, check.maximum_users)}
    rows = [{**common, **row} for row in _rows(scored, chosen, settings)]
    return SelfCheck(_table(rows), model if chosen == LEARNED else None)


def _rows(scored: Sequence[DetectorScores], chosen: str, settings: Settings) -> Iterator[dict[str, Any]]:
    samples, seed = BOOTSTRAP_SAMPLES, settings.seed
    thresholds = {E_VALUE: math.log(settings.alerts.average_run_length), LEARNED: None}
    at_threshold = {
        (name, construction, days): share
        for name, threshold in thresholds.items()
        for construction, days, share in shares_over(scored, name, threshold, samples=samples, seed=seed)
    }
    for row in detector_metrics(scored, samples=samples, seed=seed):
        construction = Construction(row.kind, row.kept)  # type: ignore[arg-type]
        flagged = at_threshold.get((row.detector, UNSPLICED, row.active_days))
        found = at_threshold.get((row.detector, construction, row.active_days))
        yield {
            "detector": row.detector,
            "starts": settings.evidence.starts if row.detector == E_VALUE else None,
            "posterior_window": settings.evidence.posterior_window if row.detector == POSTERIOR else None,
            "kind": row.kind,
            "kept": row.kept,
            "active_days": row.active_days,
            "n_cases": row.cases,
            "donor_distance": _finite(row.donor_distance),
            **_metric_columns(row),
            **(_estimate_columns("flagged_share", flagged) if flagged else {}),
            **(_estimate_columns("found_share", found) if found else {}),
            "chosen": row.detector == chosen,
            "note": _note(scored, chosen, at_threshold, settings) if row.detector == chosen else None,
        }


def _note(
    scored: Sequence[DetectorScores],
    chosen: str,
    at_threshold: dict[tuple[str, Construction, int], Estimate],
    settings: Settings,
) -> str:
    """What the threshold in service finds and flags, and what a known splice point would find."""
    flagged = at_threshold[chosen, UNSPLICED, ACTIVE_DAYS]
    found = at_threshold[chosen, SPLICED, ACTIVE_DAYS]
    whole, spliced = (
        np.concatenate(
            [one.score[:, -1] for one in scored if one.detector == KNOWN_CUT and one.construction == construction]
        )
        for construction in (UNSPLICED, SPLICED)
    )
    auc, bound = recall_where_flagged(whole, spliced, flagged.value)
    language = settings.alerts.language
    sentence = _SENTENCES[language].format(
        days=ACTIVE_DAYS, found=_percent(found), flagged=_percent(flagged), bound=f"{bound:.0%}"
    )
    return sentence + (_WARNINGS[language].format(auc=auc) if auc < HARDLY_DISTINGUISHABLE else "")


def _percent(share: Estimate) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


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


def _too_few_users(day: date, segment: str, users: int, window_days: int) -> dict[str, Any]:
    return {
        "day": day,
        "segment": segment,
        "detector": "none",
        "n_users": users,
        "n_cases": 0,
        "chosen": False,
        "note": f"{users} users have {TRAINING_DAYS_BEFORE} active days before and {ACTIVE_DAYS} after a splice in the "
        f"last {window_days} days; {MINIMUM_USERS} are needed",
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=DETECTOR_SELF_CHECK.schema)
