"""Evaluation of detectors on spliced histories: a protocol for real logs without labels.

What belongs here: applying detectors to the constructions of `shift.learned.splices`, and the table of scores. A
history's score after n active days is the largest score on the first n active days from the splice point on. Unspliced
users shift sometimes, so their flagged share is an upper bound of the false alert rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, sum_by
from shift_assets.errors import UserError
from shift_assets.interest.histories import Histories, histories
from shift_assets.interest.series import Step
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.baselines.registry import BASELINES
from shift_assets.shift.detector.base import Detector, EValue, Posterior
from shift_assets.shift.detector.evidence import segment_mix
from shift_assets.shift.detector.memory import pool_rare_categories
from shift_assets.shift.learned.shift_model import SPLICE_POINTS, ShiftModel, fit
from shift_assets.shift.learned.splices import (
    CONSTRUCTIONS,
    Cases,
    Construction,
    SplicePoints,
    construct,
    draw_splice_points,
)

LEARNED, E_VALUE, POSTERIOR = "learned", "e_value", "posterior"
KNOWN_CUT = "known_cut"
"""No detector but what one can hope for: it knows the splice point, and compares all days from it on with the user's
own smoothed profile before it and with the population."""
KNOWN_CUT_PRIOR_DAYS = 3.0
"""Weight of the population's mix in that profile, in days."""
FOLDS = 2
"""Folds of the users; the learned detector scores each fold with a model trained on the others."""
CONTEXT_USERS = 1_000
"""Users besides those under test: enough to estimate the segment's mix of a day."""
MAXIMUM_USERS = 1_000
"""Users under test: enough for an AUC within 0.02."""
SCORES = {
    "segment": (pa.string(), "Segment of the user and its donor"),
    "seed": (pa.int64(), "Seed of splice points, donors and folds"),
    "detector": (pa.string(), "Detector"),
    "kind": (pa.string(), "unspliced, odd_even, shuffled, gift, or the donor: random, same_tier, nearest_profile"),
    "kept": (pa.float64(), "Share of the user's own days that remain after the splice point; 0: a complete shift"),
    "is_shift": (pa.bool_(), "Whether a donor's days follow, all or some of them"),
    "user_id": (pa.string(), "Pseudonym of the user"),
    "donor_id": (pa.string(), "Pseudonym of the donor; null without one"),
    "fold": (pa.int64(), "Fold of the users; donors are of the same fold, the learned detector is trained on others"),
    "cut_day": (pa.date32(), "First day that may be the donor's"),
    "donor_distance": (pa.float64(), "Total variation of the profiles before and after; null without donor"),
    "active_days": (pa.int64(), "Active days observed from the splice point on"),
    "score_of_day": (pa.float64(), "Score at the end of the last of them; null where the detector gives none"),
    "score": (pa.float64(), "Largest score of them; null where the detector gave none"),
}
"""Columns of the scores per user: type and meaning."""


class Alerting(NamedTuple):
    """What the learned detector is fitted with."""

    evidence: EvidenceSettings
    flagged_share: float  # `alerts.flagged_share`


class TooFewUsers(UserError):
    """Too few users have enough active days on both sides of a splice point; the message says how many are needed."""


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """Scores of one detector on the histories of one construction, segment and seed."""

    segment: str
    seed: int
    detector: str
    construction: Construction
    users: pa.StringArray  # [case]
    donors: pa.StringArray  # [case], null without one
    fold: Int64Array  # [case]
    cut_day: Int64Array  # [case]
    donor_distance: Float64Array  # [case]
    score_of_day: Float64Array  # [case, day]; nan without a score, or where the history has no such day
    has_day: BoolArray  # [case, day]
    threshold: Float64Array  # [case], from which the detector alerts; nan for one without a threshold of its own

    @property
    def score(self) -> Float64Array:
        """Largest score so far, [case, day]; nan without any."""
        return np.asarray(np.fmax.accumulate(self.score_of_day, axis=1))

    def table(self) -> pa.Table:
        """Table with the columns SCORES, one row per case and active day."""
        case, day = np.nonzero(self.has_day)
        values: dict[str, Any] = {
            "segment": [self.segment] * len(case),
            "seed": np.full(len(case), self.seed),
            "detector": [self.detector] * len(case),
            "kind": [self.construction.kind] * len(case),
            "kept": np.full(len(case), self.construction.kept),
            "is_shift": np.full(len(case), self.construction.is_shift),
            "user_id": self.users.take(pa.array(case)),
            "donor_id": self.donors.take(pa.array(case)),
            "fold": self.fold[case],
            "cut_day": pa.array(self.cut_day[case].astype(np.int32)).cast(pa.date32()),
            "donor_distance": pa.array(self.donor_distance[case], from_pandas=True),
            "active_days": day + 1,
            "score_of_day": pa.array(self.score_of_day[case, day], from_pandas=True),
            "score": pa.array(self.score[case, day], from_pandas=True),
        }
        return pa.table(
            [
                pa.array(values[name], kind) if isinstance(values[name], list) else values[name]
                for name, (kind, _) in SCORES.items()
            ],
            names=list(SCORES),
        ).cast(score_schema())


def score_schema() -> pa.Schema:
    return pa.schema([(name, kind) for name, (kind, _) in SCORES.items()])


def write_scores(scored: Iterable[DetectorScores], target: Path) -> None:
    """Write the columns SCORES to a Parquet file, with the meaning of every column in its metadata."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    schema = pa.schema(
        [pa.field(name, kind, metadata={"meaning": meaning}) for name, (kind, meaning) in SCORES.items()]
    )
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for one in scored:
            writer.write_table(one.table().cast(schema))
    partial.replace(target)


def detectors_of(evidence: EvidenceSettings) -> dict[str, Detector]:
    """Detectors by name: the baselines, the e-value and the posterior."""
    own: tuple[Detector, ...] = (EValue(evidence), Posterior(evidence))
    return {**BASELINES, **{detector.name: detector for detector in own}}


def evaluate_detectors(
    series: pa.Table,
    detectors: Mapping[str, Detector],
    *,
    step: Step,
    seeds: Sequence[int],
    active_days: int,
    alerting: Alerting,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[DetectorScores], dict[str, str]]:
    """Run the protocol in every segment.

    Args:
        series: `interest_series` of all days; with the column `hour` for the step `hour`.
        detectors: Detectors by name.
        step: Unit of the histories.
        seeds: Seeds of splice points and donors; one run each.
        active_days: Active units that a user needs before a splice point and from it on.
        alerting: What the learned detector is fitted with.
        on_progress: Called with a description of each run.

    Returns:
        The scores, and by segment why it was left out.

    Raises:
        TooFewUsers: All segments were left out.
    """
    scored: list[DetectorScores] = []
    skipped: dict[str, str] = {}
    for segment in sorted(pc.unique(series["segment"]).to_pylist()):
        found = histories(series.filter(pc.equal(series["segment"], segment)), step)
        for number, seed in enumerate(seeds, start=1):
            on_progress(f"segment {segment}: {len(found.users):,} users, draw {number} of {len(seeds)}")
            try:
                for one in run_protocol(
                    found, segment, detectors, seed=seed, active_days=active_days, alerting=alerting
                ):
                    scored.append(one)
                    on_progress(f"  {one.construction.kind}, {one.construction.kept:.0%} kept: {one.detector}")
            except TooFewUsers as error:
                skipped[segment] = str(error)
                break
    if not scored:
        raise TooFewUsers(
            "; ".join(skipped.values()) + f"; choose fewer --active-days, or land more {step}s"
            if skipped
            else "the log has no interest series; land some days first: shift-assets land FILE"
        )
    return scored, skipped


def run_protocol(
    histories: Histories,
    segment: str,
    detectors: Mapping[str, Detector],
    *,
    seed: int,
    alerting: Alerting,
    active_days: int = 8,
    days_before: int | None = None,
    maximum_users: int = MAXIMUM_USERS,
    constructions: Sequence[Construction] = CONSTRUCTIONS,
    training_splice_points: int = SPLICE_POINTS,
) -> Iterator[DetectorScores]:
    """Score every construction with every detector, and with the learned one, trained without the scored fold.

    The learned detector's score is its confidence. `KNOWN_CUT` has a score after the last day only.

    Args:
        histories: The users' active days.
        segment: The segment's key.
        detectors: Detectors by name.
        seed: Seed of splice points, donors and folds.
        alerting: What the learned detector is fitted with.
        active_days: Active days that a user needs before a splice point and from it on.
        days_before: Fewer active days that a user needs before it; None for as many.
        maximum_users: Users that are spliced at most.
        constructions: Constructions to score.
        training_splice_points: Splice points of the learned detector's training.

    Raises:
        TooFewUsers: A fold has fewer than two users with enough active days.
    """
    histories = pool_rare_categories(histories)
    splice_points = draw_splice_points(
        histories, active_days, seed, folds=FOLDS, maximum_users=maximum_users, days_before=days_before
    )
    if len(splice_points.user) < 2 * FOLDS:
        raise TooFewUsers(
            f"{len(splice_points.user)} users of segment {segment} have {active_days} active days before a "
            f"splice point and from it on; {2 * FOLDS} are needed"
        )
    histories, splice_points = _narrowed(histories, splice_points, seed)
    models = _fit_by_fold(histories, splice_points, seed, alerting, maximum_users, training_splice_points)
    mix = segment_mix(sum_by(histories.user_days.category, histories.user_days.share, len(histories.codes)))
    for construction in constructions:
        cases = construct(histories, splice_points, construction, seed)
        entries = cases.first_days(active_days)
        for name, detector in detectors.items():
            scores = np.where(entries >= 0, detector.score(cases.histories)[entries], np.nan)
            yield _scored(segment, seed, name, cases, scores)
        if models:
            scores, threshold = np.full(entries.shape, np.nan), np.full(len(cases.fold), np.nan)
            for fold, model in models.items():
                case, day = np.nonzero((entries >= 0) & (cases.fold == fold)[:, None])
                found = model.score_histories(cases.histories, entries[case, day], alerting.evidence)
                scores[case, day] = found.confidence
                threshold[cases.fold == fold] = model.threshold_confidence
            yield _scored(segment, seed, LEARNED, cases, scores, threshold)
        yield _scored(segment, seed, KNOWN_CUT, cases, _known_cut_scores(cases, entries, mix))


def _known_cut_scores(cases: Cases, entries: Int64Array, mix: Float64Array) -> Float64Array:
    """Log ratio of all days from the splice point on, population against own profile, [case, day], at the last day."""
    user_days = cases.histories.user_days
    until = np.vstack([np.zeros(len(mix)), np.cumsum(user_days.dense_share(len(mix)), axis=0)])  # [entry + 1, category]
    before = until[cases.entry] - until[user_days.start[cases.user]]
    own = (before + KNOWN_CUT_PRIOR_DAYS * mix) / (before.sum(axis=1, keepdims=True) + KNOWN_CUT_PRIOR_DAYS)
    last = entries[:, -1]
    after = until[np.maximum(last, 0) + 1] - until[cases.entry]
    scores = np.full(entries.shape, np.nan)
    scores[:, -1] = np.where(last >= 0, (after * np.log(mix / own)).sum(axis=1), np.nan)
    return scores


def _fit_by_fold(  # noqa: PLR0917
    histories: Histories,
    splice_points: SplicePoints,
    seed: int,
    alerting: Alerting,
    maximum_users: int,
    training_splice_points: int,
) -> dict[int, ShiftModel]:
    """A model by fold, trained on the other folds; empty where one of them has too little data."""
    models = {}
    for fold in range(FOLDS):
        others = np.setdiff1d(np.arange(len(histories.users)), splice_points.user[splice_points.fold == fold])
        model = fit(
            histories.take_users(others),
            splice_points.active_days,
            seed,
            evidence=alerting.evidence,
            flagged_share=alerting.flagged_share,
            maximum_users=maximum_users,
            n_splice_points=training_splice_points,
        )
        if model is None:
            return {}
        models[fold] = model
    return models


def with_context_users(
    histories: Histories, active_days: int, seed: int, *, days_before: int, maximum_users: int
) -> Histories:
    """Return the users whom `run_protocol` draws with these arguments, and at most CONTEXT_USERS others."""
    points = draw_splice_points(
        histories, active_days, seed, folds=FOLDS, maximum_users=maximum_users, days_before=days_before
    )
    return histories.take_users(_with_others(histories, points.user, seed))


def _with_others(histories: Histories, users: Int64Array, seed: int) -> Int64Array:
    """These users and at most CONTEXT_USERS others, in order."""
    others = np.setdiff1d(np.arange(len(histories.users)), users)
    random = np.random.default_rng([seed, 2])
    return np.sort(np.concatenate([users, random.permutation(others)[:CONTEXT_USERS]]))


def _narrowed(histories: Histories, splice_points: SplicePoints, seed: int) -> tuple[Histories, SplicePoints]:
    """The users under test and at most CONTEXT_USERS others."""
    users = _with_others(histories, splice_points.user, seed)
    row = np.searchsorted(users, splice_points.user)
    return histories.take_users(users), SplicePoints(
        row, splice_points.day, splice_points.fold, splice_points.tier, splice_points.active_days
    )


def _scored(  # noqa: PLR0917
    segment: str, seed: int, detector: str, cases: Cases, scores: Float64Array, threshold: Float64Array | None = None
) -> DetectorScores:
    users = cases.histories.users
    return DetectorScores(
        segment,
        seed,
        detector,
        cases.construction,
        users.take(pa.array(cases.user)),
        users.take(pa.array(cases.donor, mask=cases.donor < 0)),
        cases.fold,
        cases.day // cases.histories.numbers_per_day,
        cases.donor_distance,
        scores,
        cases.first_days(scores.shape[1]) >= 0,
        np.full(len(scores), np.nan) if threshold is None else threshold,
    )
