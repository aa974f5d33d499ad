"""How well detectors tell spliced histories from whole ones: the protocol on real logs without labels.

What belongs here: passes of the constructions of `shift.splices` through detectors, and the figures made of the
scores. A history's score after n active days is the largest that the detector gave on the first n active days from
the cut on; unspliced users do shift sometimes, so what is flagged of them is an upper bound of the false alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.errors import UserError
from shift_assets.interest.histories import Histories, Step, histories
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.baselines.registry import BASELINES
from shift_assets.shift.detector.base import Detector, EValue, Posterior
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


FOLDS = 2
"""Parts of the users; the learned detector scores each part by a model that never saw one of its users."""


CONTEXT_USERS = 2_000
"""Users around those under test: enough to tell what the whole segment did on a day."""


MAXIMUM_USERS = 1_000
"""Users under test: enough for an AUC within .02."""


SCORES = {
    "segment": (pa.string(), "Segment of the user and its donor"),
    "seed": (pa.int64(), "Seed of cuts, donors and folds"),
    "detector": (pa.string(), "Detector that scored"),
    "kind": (pa.string(), "unspliced, odd_even, shuffled, gift, or the donor: random, same_tier, nearest_profile"),
    "kept": (pa.float64(), "Share of the user's own days that stay after the cut; 0: a whole shift"),
    "is_shift": (pa.bool_(), "Another user takes over, wholly or in part"),
    "user_id": (pa.string(), "Pseudonym of the user"),
    "donor_id": (pa.string(), "Pseudonym of the donor; null without one"),
    "fold": (pa.int64(), "Part of the users; donors come from the same, the learned detector was taught on the others"),
    "cut_day": (pa.date32(), "First day that may be the donor's"),
    "donor_distance": (pa.float64(), "Total variation of the profiles before and from the cut on; null without donor"),
    "active_days": (pa.int64(), "Active days from the cut on that had been seen"),
    "score_of_day": (pa.float64(), "Score at the end of the last of them; null where the detector is silent"),
    "score": (pa.float64(), "Largest score of them; null where the detector was silent on all"),
}
"""Columns of the per-user scores: type and meaning."""


class TooFewUsers(UserError):
    """Too few users have enough active days on both sides of a splice point; the message says how many are needed."""


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What one detector said of the histories of one construction, of one segment and seed."""

    segment: str
    seed: int
    detector: str
    construction: Construction
    users: pa.StringArray  # [case]
    donors: pa.StringArray  # [case], null without one
    fold: Int64Array  # [case]
    cut_day: Int64Array  # [case]
    donor_distance: Float64Array  # [case]
    score_of_day: Float64Array  # [case, day]; nan where silent, or where the history has no such day
    has_day: NDArray[np.bool_]  # [case, day]

    @property
    def score(self) -> Float64Array:
        """Largest so far, [case, day]; nan where silent on all days so far."""
        return np.asarray(np.fmax.accumulate(self.score_of_day, axis=1))

    def table(self) -> pa.Table:
        """The columns SCORES, one row per case and active day."""
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
    """The columns SCORES as one Parquet file; each column tells its meaning in the file."""
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
    """The statistics by name: the classic ones, and the product's own two."""
    own: tuple[Detector, ...] = (EValue(evidence), Posterior(evidence))
    return {**BASELINES, **{detector.name: detector for detector in own}}


def evaluate_detectors(
    series: pa.Table,
    detectors: Mapping[str, Detector],
    *,
    step: Step,
    seeds: Sequence[int],
    active_days: int,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[DetectorScores], dict[str, str]]:
    """The protocol in every segment of `interest_series`, and why a segment was left out.

    Raises TooFewUsers where all are.
    """
    scored: list[DetectorScores] = []
    skipped: dict[str, str] = {}
    for segment in sorted(pc.unique(series["segment"]).to_pylist()):
        found = histories(series.filter(pc.equal(series["segment"], segment)), step)
        for number, seed in enumerate(seeds, start=1):
            on_progress(f"segment {segment}: {len(found.users):,} users, draw {number} of {len(seeds)}")
            try:
                scored += run_protocol(found, segment, detectors, seed=seed, active_days=active_days)
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
    active_days: int = 8,
    maximum_users: int = MAXIMUM_USERS,
    constructions: Sequence[Construction] = CONSTRUCTIONS,
    training_splice_points: int = SPLICE_POINTS,
) -> Iterator[DetectorScores]:
    """Every construction through every detector, and through the learned one, which is taught without the judged fold.

    Raises TooFewUsers where not two users of a fold can be cut.
    """
    splice_points = draw_splice_points(histories, active_days, seed, folds=FOLDS, maximum_users=maximum_users)
    if len(splice_points.user) < 2 * FOLDS:
        raise TooFewUsers(
            f"{len(splice_points.user)} users of segment {segment} have {active_days} active days before a "
            f"splice point and from it on; {2 * FOLDS} are needed"
        )
    histories, splice_points = _with_context_users(histories, splice_points, seed)
    models = _fit_by_fold(histories, splice_points, seed, maximum_users, training_splice_points)
    for construction in constructions:
        cases = construct(histories, splice_points, construction, seed)
        entries = cases.first_days(active_days)
        for name, detector in detectors.items():
            scores = np.where(entries >= 0, detector.score(cases.histories)[entries], np.nan)
            yield _scored(segment, seed, name, cases, scores)
        if models:
            scores = np.full(entries.shape, np.nan)
            for fold, model in models.items():
                case, day = np.nonzero((entries >= 0) & (cases.fold == fold)[:, None])
                scores[case, day] = model.probability(cases.histories, entries[case, day])
            yield _scored(segment, seed, LEARNED, cases, scores)


def _fit_by_fold(
    histories: Histories, splice_points: SplicePoints, seed: int, maximum_users: int, training_splice_points: int
) -> dict[int, ShiftModel]:
    """A model for each fold, of all users but its own; nothing where one of them cannot be taught."""
    models = {}
    for fold in range(FOLDS):
        others = np.setdiff1d(np.arange(len(histories.users)), splice_points.user[splice_points.fold == fold])
        model = fit(
            histories.take_users(others),
            splice_points.active_days,
            seed,
            maximum_users=maximum_users,
            n_splice_points=training_splice_points,
        )
        if model is None:
            return {}
        models[fold] = model
    return models


def _with_context_users(histories: Histories, splice_points: SplicePoints, seed: int) -> tuple[Histories, SplicePoints]:
    """Only the users under test and at most CONTEXT_USERS others."""
    others = np.setdiff1d(np.arange(len(histories.users)), splice_points.user)
    random = np.random.default_rng([seed, 2])
    users = np.sort(np.concatenate([splice_points.user, random.permutation(others)[:CONTEXT_USERS]]))
    row = np.searchsorted(users, splice_points.user)
    return histories.take_users(users), SplicePoints(
        row, splice_points.day, splice_points.fold, splice_points.tier, splice_points.active_days
    )


def _scored(segment: str, seed: int, detector: str, cases: Cases, scores: Float64Array) -> DetectorScores:
    users = cases.histories.users
    return DetectorScores(
        segment,
        seed,
        detector,
        cases.construction,
        users.take(pa.array(cases.user)),
        users.take(pa.array(cases.donor, mask=cases.donor < 0)),
        cases.fold,
        cases.day,
        cases.donor_distance,
        scores,
        cases.first_days(scores.shape[1]) >= 0,
    )
