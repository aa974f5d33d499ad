"""How well detectors tell spliced histories from whole ones: the protocol on real logs without labels.

What belongs here: passes of the constructions of `shift.splices` through detectors, and the figures made of the
scores. A history's score after n active days is the largest that the detector gave on the first n active days from
the cut on; unspliced users do shift sometimes, so what is flagged of them is an upper bound of the false alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shift_assets.evaluate.ranking import Estimate, interval, resamples
from shift_assets.models.shift_detector import CUTS, ShiftModel, fit
from shift_assets.settings import EvidenceSettings
from shift_assets.shift.detectors import Detector
from shift_assets.shift.detectors.registry import CLASSIC
from shift_assets.shift.evidence import EValue, Posterior
from shift_assets.shift.histories import Histories, Step, histories
from shift_assets.shift.rings import Floats, Ints
from shift_assets.shift.splices import CONSTRUCTIONS, UNSPLICED, Cases, Construction, Cuts, construct, cut_histories

LEARNED, E_VALUE, POSTERIOR = "learned", "e_value", "posterior"
FOLDS = 2
"""Parts of the users; the learned detector scores each part by a model that never saw one of its users."""
CONTEXT_USERS = 2_000
"""Users around those under test: enough to tell what the whole segment did on a day."""
MAXIMUM_USERS = 1_000
"""Users under test: enough for an AUC within .02."""
LINES = (10.0, 30.0, 100.0, 1000.0)
"""Values of the operator's patience A at which the share of flagged histories is told."""

SCORES = {
    "segment": (pa.string(), "Segment of the user and its donor"),
    "seed": (pa.int64(), "Seed of cuts, donors and folds"),
    "detector": (pa.string(), "Detector that scored"),
    "kind": (pa.string(), "unspliced, placebo, shuffled, gift, or the donor: random, same_tier, nearest_profile"),
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


class TooFewUsers(ValueError):
    """Nobody has enough active days on both sides of a cut; the message says how many are needed."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one detector said of the histories of one construction, of one segment and seed."""

    segment: str
    seed: int
    detector: str
    construction: Construction
    users: pa.StringArray  # [case]
    donors: pa.StringArray  # [case], null without one
    fold: Ints  # [case]
    cut_day: Ints  # [case]
    donor_distance: Floats  # [case]
    score_of_day: Floats  # [case, day]; nan where silent, or where the history has no such day
    has_day: NDArray[np.bool_]  # [case, day]

    @property
    def score(self) -> Floats:
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


def write_scores(scored: Iterable[Scored], target: Path) -> None:
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
    return {**CLASSIC, **{detector.name: detector for detector in own}}


def judge(
    series: pa.Table,
    detectors: Mapping[str, Detector],
    *,
    step: Step,
    seeds: Sequence[int],
    active_days: int,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[Scored], dict[str, str]]:
    """The protocol in every segment of `interest_series`, and why a segment was left out.

    Raises TooFewUsers where all are.
    """
    scored: list[Scored] = []
    skipped: dict[str, str] = {}
    for segment in sorted(pc.unique(series["segment"]).to_pylist()):
        found = histories(series.filter(pc.equal(series["segment"], segment)), step)
        for number, seed in enumerate(seeds, start=1):
            tell(f"segment {segment}: {len(found.users):,} users, draw {number} of {len(seeds)}")
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
    wanted: Sequence[Construction] = CONSTRUCTIONS,
    cuts_taught: int = CUTS,
) -> Iterator[Scored]:
    """Every construction through every detector, and through the learned one, which is taught without the judged fold.

    Raises TooFewUsers where not two users of a fold can be cut.
    """
    cuts = cut_histories(histories, active_days, seed, folds=FOLDS, maximum_users=maximum_users)
    if len(cuts.user) < 2 * FOLDS:
        raise TooFewUsers(
            f"{len(cuts.user)} users of segment {segment} have {active_days} active days before a cut and from it on; "
            f"{2 * FOLDS} are needed"
        )
    histories, cuts = _with_surroundings(histories, cuts, seed)
    models = _taught(histories, cuts, seed, maximum_users, cuts_taught)
    for construction in wanted:
        cases = construct(histories, cuts, construction, seed)
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


def _taught(histories: Histories, cuts: Cuts, seed: int, maximum_users: int, cuts_taught: int) -> dict[int, ShiftModel]:
    """A model for each fold, of all users but its own; nothing where one of them cannot be taught."""
    models = {}
    for fold in range(FOLDS):
        others = np.setdiff1d(np.arange(len(histories.users)), cuts.user[cuts.fold == fold])
        model = fit(histories.take_users(others), cuts.active_days, seed, maximum_users=maximum_users, cuts=cuts_taught)
        if model is None:
            return {}
        models[fold] = model
    return models


def _with_surroundings(histories: Histories, cuts: Cuts, seed: int) -> tuple[Histories, Cuts]:
    """Only the users under test and at most CONTEXT_USERS others."""
    others = np.setdiff1d(np.arange(len(histories.users)), cuts.user)
    random = np.random.default_rng([seed, 2])
    users = np.sort(np.concatenate([cuts.user, random.permutation(others)[:CONTEXT_USERS]]))
    place = np.searchsorted(users, cuts.user)
    return histories.take_users(users), Cuts(place, cuts.day, cuts.fold, cuts.tier, cuts.active_days)


def _scored(segment: str, seed: int, detector: str, cases: Cases, scores: Floats) -> Scored:
    users = cases.histories.users
    return Scored(
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


_NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


class Quality(NamedTuple):
    """A detector on the histories of one construction, against the same users' whole histories.

    For a construction that is no shift the same figures tell how it is mistaken for one: an AUC of .5 or less, and
    as few flagged as of the unspliced.
    """

    detector: str
    kind: str
    kept: float
    active_days: int
    users: int
    cases: int
    silent: float  # share of the constructed histories without any score
    donor_distance: float
    auc: Estimate
    average_precision: Estimate
    recall_at_1_percent: Estimate
    recall_at_5_percent: Estimate


class Flagged(NamedTuple):
    """The share of whole histories over the line M >= patience within the first active days, and what bounds it."""

    kind: str
    patience: float
    active_days: int
    cases: int
    share: Estimate
    bound: float


def qualities(scored: Iterable[Scored], *, samples: int, seed: int, days: Sequence[int] | None = None) -> list[Quality]:
    """Every detector on every construction after each of `days` active days (else all), pooled over segments and seeds.

    Intervals: 95 %, bootstrap over users; a user's histories of all seeds go together. Only histories that have so
    many active days count; a construction of which there are none has no row.
    """
    found = []
    for (detector, construction), (whole, made) in _against_whole(scored).items():
        pool, is_made = _pooled(whole, made, samples, seed)
        distance = np.concatenate([one.donor_distance for one in made])
        for day in days or range(1, pool.score.shape[1] + 1):
            if not pool.has_day[is_made, day - 1].any():
                continue
            rates = pool.rates(is_made, day)
            found.append(
                Quality(
                    detector,
                    construction.kind,
                    construction.kept,
                    day,
                    pool.users,
                    len(distance),
                    float(np.isneginf(pool.score[is_made, day - 1]).mean()),
                    float(np.nanmean(distance)) if np.isfinite(distance).any() else float("nan"),
                    *(_estimate(rate) for rate in rates),
                )
            )
    return found


def flagged_shares(
    scored: Iterable[Scored],
    *,
    samples: int,
    seed: int,
    lines: Sequence[float] = LINES,
    detector: str = E_VALUE,
) -> list[Flagged]:
    """How many whole histories the e-value flags within 1, 2, … active days: M >= A on one of n days, at most n/A."""
    by_construction: dict[Construction, list[Scored]] = {}
    for one in scored:
        if one.detector != detector:
            continue
        by_construction.setdefault(one.construction, []).append(one)
    found = []
    for construction, parts in by_construction.items():
        pool = _Pool(parts, samples, seed)
        for patience, day in product(lines, range(1, pool.score.shape[1] + 1)):
            n_cases = int(pool.has_day[:, day - 1].sum())
            if not n_cases:
                continue
            share = pool.share_over(np.log(patience), day)
            found.append(Flagged(construction.kind, patience, day, n_cases, _estimate(share), min(1.0, day / patience)))
    return found


def advantage(
    scored: Iterable[Scored],
    first: str,
    second: str,
    *,
    samples: int,
    seed: int,
    day: int,
    patience: float | None = None,
) -> Estimate:
    """AUC of detector `first` less that of `second` after `day` active days, mean over the shifts, same resamples.

    With `patience`, the share of the shifts with M at the patience or above instead: what an e-value finds.
    Constructions without a history of so many days are left out; nan where all are.
    """
    gains = []
    for (detector, construction), parts in _against_whole(scored).items():
        if construction.is_shift and detector in (first, second):
            pool, is_made = _pooled(*parts, samples, seed)
            if not pool.has_day[is_made, day - 1].any():
                continue
            value = pool.rates(is_made, day)[0] if patience is None else pool.share_over(np.log(patience), day, is_made)
            gains.append(value * ((detector == first) - (detector == second)))
    if not gains:
        return _NOTHING
    return _estimate(np.sum(gains, axis=0) * 2 / len(gains))


def _pooled(whole: list[Scored], made: list[Scored], samples: int, seed: int) -> tuple[_Pool, NDArray[np.bool_]]:
    """Both in one pool, and which of its histories were made."""
    pool = _Pool([*whole, *made], samples, seed)
    return pool, np.arange(len(pool.score)) >= sum(len(one.users) for one in whole)


def _against_whole(
    scored: Iterable[Scored],
) -> dict[tuple[str, Construction], tuple[list[Scored], list[Scored]]]:
    """By detector and construction: the unspliced histories, and the constructed ones, of all segments and seeds."""
    by: dict[tuple[str, Construction], list[Scored]] = {}
    for one in scored:
        by.setdefault((one.detector, one.construction), []).append(one)
    return {
        (detector, construction): (by[detector, UNSPLICED], parts)
        for (detector, construction), parts in by.items()
        if construction != UNSPLICED
    }


class _Pool:
    """Histories of several segments and seeds, and how often each stands in each resample of the users."""

    def __init__(self, parts: Sequence[Scored], samples: int, seed: int) -> None:
        self.score = np.concatenate([np.nan_to_num(one.score, nan=-np.inf, posinf=np.inf) for one in parts])
        self.has_day = np.concatenate([one.has_day for one in parts])
        user = pa.chunked_array([one.users for one in parts]).dictionary_encode().combine_chunks().indices.to_numpy()
        self.users = int(user.max(initial=-1)) + 1
        drawn = resamples(self.users, samples, seed)
        self.weight = np.vstack([np.ones(self.users), drawn])[:, user]  # [1 + sample, case]; first the data as it is

    def share_over(self, line: float, day: int, of: NDArray[np.bool_] | None = None) -> Floats:
        """Share of the histories (else of those that `of` marks) that came to the line, [1 + sample]."""
        counted = self.has_day[:, day - 1] if of is None else self.has_day[:, day - 1] & of
        weight = self.weight[:, counted]
        return np.asarray(weight @ (self.score[counted, day - 1] >= line) / np.maximum(weight.sum(axis=1), 1e-12))

    def rates(self, is_made: NDArray[np.bool_], day: int) -> tuple[Floats, Floats, Floats, Floats]:
        """AUC, average precision, recall at 1 % and at 5 % of the whole flagged, [1 + sample] each."""
        has_day = self.has_day[:, day - 1]
        score, made = self.score[has_day, day - 1], is_made[has_day]
        order = np.argsort(-score, kind="stable")
        weight = self.weight[:, has_day][:, order]
        ranked = score[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], np.full(min(len(ranked), 1), True)))
        hits = np.cumsum(weight * made[order], axis=1)[:, ends]
        false = np.cumsum(weight * ~made[order], axis=1)[:, ends]
        hits, false = (np.pad(each, ((0, 0), (1, 0))) for each in (hits, false))
        with np.errstate(invalid="ignore", divide="ignore"):
            recall, fallout = hits / hits[:, -1:], false / false[:, -1:]
            precision = hits[:, 1:] / (hits[:, 1:] + false[:, 1:])
        auc = (np.diff(fallout) * (recall[:, 1:] + recall[:, :-1]) / 2).sum(axis=1)
        average_precision = (np.diff(recall) * precision).sum(axis=1)
        at = [np.where(fallout <= share + 1e-12, recall, 0.0).max(axis=1) for share in (0.01, 0.05)]
        return auc, average_precision, at[0], at[1]


def _estimate(values: Floats) -> Estimate:
    """The first value, and the interval of the others; nan where there is none."""
    replicates = values[1:][np.isfinite(values[1:])]
    return interval(float(values[0]), replicates) if len(replicates) else _NOTHING._replace(value=float(values[0]))
