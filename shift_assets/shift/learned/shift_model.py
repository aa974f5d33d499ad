"""The learned shift detector: a calibrated combination of the detector's statistics, fitted on spliced histories.

Training, scoring, calibration and the stored form belong here; splices are made in `shift.learned.splices`, the
statistics in `shift.detector`. Everything that calibrates was scored by parts that were fitted on other users. The
stored model is arrays in safetensors: no pickle, no class of a library, and the same score to the bit after a reload.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, offsets, sum_by
from shift_assets.errors import PermanentError
from shift_assets.interest.histories import Histories
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.alerts.detector_selection import MODEL_FOLDER
from shift_assets.shift.detector.calibration import NullSample
from shift_assets.shift.detector.evidence import segment_mix, trace_user_days
from shift_assets.shift.detector.statistics import FEATURES, Score, features
from shift_assets.shift.detector.window_ratios import WindowObserver, WindowRatios
from shift_assets.shift.learned.splices import (
    SPLICED,
    UNSPLICED,
    Construction,
    SplicePoints,
    construct,
    draw_splice_points,
)
from shift_assets.shift.learned.taste_clusters import TasteClusters, fit_taste_clusters

_EVIDENCE = FEATURES.index("evidence")
GIFT = Construction("gift", 1.0)
GIFT_SHARE = 0.1
"""Share of histories that may hold a gift within the active days of a splice: a threshold must stand them."""
SPLICE_POINTS = 600
MAXIMUM_SPLICE_POINTS_PER_USER = 6
"""Splice points to train on. A small segment gains by splicing each user often, on other days, with other donors."""
TRAINING_DAYS_BEFORE = 4
"""Fewest active days before a splice point of the training: users with a short past are watched too."""
FOLDS = 2
"""Each fold of the users is scored by clusters and coefficients fitted on the others, for the calibration."""
REGULARISATION = 0.05
"""Inverse strength of the coefficients' prior, after standardisation."""
MINIMUM_USERS = 30
"""Users with enough active days below which nothing is fitted: fewer do not show what one in fifty does."""
MINIMUM_EVIDENCE = float(np.log(10.0))
"""Smallest log M that opens an alert: one false alert in ten active days of an unchanged user at most."""
EVIDENCE_PART = 0.1
"""Part of the unchanged users who may be flagged that log M may flag by itself."""
EXPECTED_SHIFTS = 0.05
"""Share of users who are taken to shift within the active days of a splice, where a threshold is chosen."""
FLAGGED_SHARES = (0.01, 0.005, 0.002, 0.001, 0.0005)
"""Candidates below the share that the settings allow."""
TAIL_SHARE = 0.1
"""Share of the unspliced histories from which the tail's steepness is measured."""
FEWEST_ABOVE = 3
"""Histories above a threshold from which it is read off; beyond, the tail is extended."""
FEWEST_FALSE = 0.5
"""Part of the unspliced histories above a threshold that counts as unchanged, whatever the estimate says."""
MAXIMUM_SHIFTED = (0.01, 0.02)
"""Most of the unspliced histories that may count as shifted: where shifts are hard to see, it is too large."""
EASILY_DISTINGUISHED = (0.90, 0.95)
"""AUC of spliced over unspliced histories at which the one and the other of these limits holds."""
SMALLEST_SLOPE = 0.01
"""Of the confidence in the log odds: one that fell would open alerts of all users but the most suspicious."""
LARGEST_DAYS = 0.02
"""Of all unshifted days, those whose runs are counted."""
SAFETY = 0.5
"""Part of a share that the threshold aims at: a sample of some hundred users leaves that much open."""
NULL_ENTRIES = 6_000
"""Unshifted days behind the p-values."""
NULL_DAYS_BEFORE = (6.0, 12.0, 24.0)
"""Days before at which another null sample begins: a long past makes larger statistics."""
_SMALLEST_SHARE = 1e-6
_HEADER, _WEIGHTS = "shift_assets", "model.safetensors"

_log = logging.getLogger(__name__)


class UnreadableShiftModel(PermanentError):
    """A stored shift detector is missing, changed, or not readable by this version."""


@dataclass(frozen=True)
class ShiftModel:
    """A fitted shift detector of one segment."""

    categories: tuple[str, ...]  # of the clusters
    clusters: TasteClusters
    coefficients: Float64[Float64Array, " feature"]
    intercept: float
    slope: float  # of the log odds of the confidence
    offset: float
    threshold: float  # log odds from which an alert opens
    evidence_threshold: float  # log M that is worth as much
    onset_share: float  # of the unshifted days above the threshold, the part that begins a run of them
    null_start: Int64[Int64Array, " sample_set"]  # where the sample of each range of days before begins, and the end
    null_log_odds: Float64[Float64Array, " sample"]  # ascending within a range

    def clusters_on(self, names: pa.Array, number: Int64[Int64Array, " name"], n_numbers: int) -> TasteClusters:
        """Return the clusters on other categories.

        Args:
            names: Names of categories.
            number: The column of each name in the result; several may share one.
            n_numbers: Columns of the result. One without a known category has almost no share.
        """
        known = pc.fill_null(pc.index_in(names, value_set=pa.array(self.categories, pa.string())), -1).to_numpy()
        found = np.flatnonzero(known >= 0)
        share = np.stack([sum_by(number[found], row[known[found]], n_numbers) for row in self.clusters.share])
        share = np.maximum(share, _SMALLEST_SHARE)
        return TasteClusters(self.clusters.weight, share / share.sum(axis=1, keepdims=True))

    def score(self, features: Float64[Float64Array, "entry feature"], days_before: Float64Array) -> Score:
        """Score entries by their `FEATURES`.

        Log M, whose bound holds whatever the log is like, lifts the log odds to the threshold where it reaches its own:
        small and slow shifts show in it first.
        """
        fitted = features @ self.coefficients + self.intercept
        log_odds = _lifted(fitted, features[:, _EVIDENCE], self.threshold, self.evidence_threshold)
        return Score(log_odds, self.confidence(log_odds), self._p_values(log_odds, days_before))

    def confidence(self, log_odds: Float64Array) -> Float64Array:
        """Return log odds as a calibrated probability."""
        return _probability(self.slope * log_odds + self.offset)

    @property
    def threshold_confidence(self) -> float:
        """Confidence from which an alert opens."""
        return float(self.confidence(np.array([self.threshold]))[0])

    def score_histories(
        self, histories: Histories, entries: Int64[Int64Array, " row"], evidence: EvidenceSettings
    ) -> Score:
        """Score entries of `histories`, whose other users show what the whole segment does."""
        codes = np.arange(len(histories.codes))
        clusters = self.clusters_on(histories.codes.names, codes, len(codes))
        wanted = np.zeros(len(histories.user_days.day), dtype=bool)
        wanted[entries] = True
        observer = WindowObserver(clusters, wanted, WindowRatios.empty(len(wanted)))
        found = trace_user_days(histories.user_days, len(codes), evidence, [observer])
        return self.score(
            features(found.log_e, found.posterior, observer.found)[entries], observer.found.days_before[entries]
        )

    def _p_values(self, log_odds: Float64Array, days_before: Float64Array) -> Float64Array:
        """p-values by the sample of the entry's range of days before; of the next one where that has none."""
        found = np.full(len(log_odds), np.nan)
        set_of_entry = np.searchsorted(NULL_DAYS_BEFORE, days_before, side="right")
        everything = NullSample(np.sort(self.null_log_odds))
        for number in range(len(NULL_DAYS_BEFORE) + 1):
            mine = (set_of_entry == number) & ~np.isnan(log_odds)
            sample = self.null_log_odds[self.null_start[number] : self.null_start[number + 1]]
            null = NullSample(sample) if len(sample) >= 200 else everything
            found[mine] = null.p_values(log_odds[mine])
        return found

    def to_bytes(self) -> bytes:
        """Return the model as safetensors; the same model gives the same bytes."""
        from safetensors.numpy import save

        header = {"categories": self.categories, "features": FEATURES}
        tensors = {
            "clusters.weight": self.clusters.weight,
            "clusters.share": self.clusters.share,
            "coefficients": self.coefficients,
            "calibration": np.array(
                [self.intercept, self.slope, self.offset, self.threshold, self.evidence_threshold, self.onset_share]
            ),
            "null.start": self.null_start,
            "null.log_odds": self.null_log_odds,
        }
        content: bytes = save(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
            metadata={_HEADER: json.dumps(header, ensure_ascii=False, separators=(",", ":"))},
        )
        return content

    @classmethod
    def from_bytes(cls, content: bytes) -> ShiftModel:
        """Read a model from the bytes of `to_bytes`.

        Raises:
            UnreadableShiftModel: the bytes are no shift detector, or one of other features.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(content)
            end = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(json.loads(content[8:end])["__metadata__"][_HEADER])
        except (SafetensorError, KeyError) as error:
            raise UnreadableShiftModel(
                f"no shift detector of this program ({error}); materialise detector_self_check again"
            ) from error
        if tuple(header["features"]) != FEATURES:
            raise UnreadableShiftModel(
                "the shift detector has features of another version; materialise detector_self_check again"
            )
        intercept, slope, offset, threshold, evidence_threshold, onset_share = tensors["calibration"].tolist()
        return cls(
            categories=tuple(header["categories"]),
            clusters=TasteClusters(tensors["clusters.weight"], tensors["clusters.share"]),
            coefficients=tensors["coefficients"],
            intercept=intercept,
            slope=slope,
            offset=offset,
            threshold=threshold,
            evidence_threshold=evidence_threshold,
            onset_share=onset_share,
            null_start=tensors["null.start"],
            null_log_odds=tensors["null.log_odds"],
        )


def save(model: ShiftModel, models: Path, segment: str, day: date) -> tuple[str, str]:
    """Write the model below the folder `models`, and return its path relative to that and the SHA-256 of its bytes."""
    from shift_assets.shift.learned.model_folder import publish_folder

    content = model.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    path = f"{MODEL_FOLDER}/{segment}/{day.isoformat()}-{digest[:16]}"
    publish_folder({_WEIGHTS: content}, models / path)
    return path, digest


@lru_cache(maxsize=64)
def load(models: Path, path: str, digest: str) -> ShiftModel:
    """Return the model at `path` below the folder `models`.

    Raises:
        UnreadableShiftModel: the file is missing, or its digest is not the one given.
    """
    file = models / path / _WEIGHTS
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnreadableShiftModel(
            f"{file}: cannot be read ({error.strerror}); materialise detector_self_check again"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise UnreadableShiftModel(f"{file}: was changed after it was saved; materialise detector_self_check again")
    return ShiftModel.from_bytes(content)


@dataclass
class LearnedDetector:
    """A fitted shift detector behind the interface of detectors; kept for a public benchmark of detectors."""

    model: ShiftModel
    evidence: EvidenceSettings
    name: str = "learned"

    def score(self, histories: Histories) -> Float64[Float64Array, " entry"]:
        """Return the log odds of a recent shift."""
        entries = np.arange(len(histories.user_days.day), dtype=np.int64)
        return self.model.score_histories(histories, entries, self.evidence).log_odds


def fit(
    histories: Histories,
    active_days: int,
    seed: int,
    *,
    evidence: EvidenceSettings,
    flagged_share: float,
    maximum_users: int | None = None,
    n_splice_points: int = SPLICE_POINTS,
) -> ShiftModel | None:
    """Fit a model on spliced histories; the same histories and seed give the same model.

    Every user is spliced repeatedly, at most MAXIMUM_SPLICE_POINTS_PER_USER times, until there are about
    `n_splice_points`, and each time enters unspliced and with a random donor. Partial shifts, gifts and chosen donors
    as further examples gained nothing on five real logs (benchmarks/RESULTS.md). All of the first `active_days` days
    from a splice point on are examples. Confidence and threshold come from the largest log odds of those days, as an
    alert opens on the first of them that is large enough.

    Args:
        histories: users of one segment.
        active_days: active days that a user needs from a splice point on.
        seed: seed of splices and clusters.
        evidence: windows and priors of the statistics.
        flagged_share: largest share of unspliced histories that the threshold may flag within `active_days` days.
        maximum_users: users to splice; None for all.
        n_splice_points: number of splice points to aim at.

    Returns:
        The model; None where fewer than MINIMUM_USERS have enough active days.
    """
    begin = time.perf_counter()
    n_days = histories.user_days.n_days
    eligible = int((n_days >= TRAINING_DAYS_BEFORE + active_days).sum())
    n_users = min(eligible, maximum_users or eligible)
    if n_users < MINIMUM_USERS:
        return None
    folds = _Folds(histories, active_days, seed, maximum_users)
    found = {
        construction: [
            folds.examples(repeat, construction, active_days, evidence)
            for repeat in range(int(np.clip(round(n_splice_points / n_users), 1, MAXIMUM_SPLICE_POINTS_PER_USER)))
        ]
        for construction in (UNSPLICED, SPLICED, GIFT)
    }
    trained = [*found[UNSPLICED], *found[SPLICED]]
    parts = [_coefficients([one.without(fold) for one in trained]) for fold in range(FOLDS)]
    coefficients, intercept = _coefficients(trained)
    fitted = {kind: [one.log_odds(parts) for one in each] for kind, each in found.items()}
    log_e = {kind: [one.features[:, :, _EVIDENCE] for one in each] for kind, each in found.items()}
    threshold = operating_threshold(_Largest.of(fitted), flagged_share)
    evidence_threshold = max(_Largest.of(log_e).threshold(EVIDENCE_PART * flagged_share), MINIMUM_EVIDENCE)
    log_odds = {
        kind: [
            _lifted(part, other, threshold, evidence_threshold)
            for part, other in zip(fitted[kind], log_e[kind], strict=True)
        ]
        for kind in found
    }
    largest = _Largest.of(log_odds)
    slope, offset = _platt_scaling(largest.whole, largest.spliced)
    null_start, null_log_odds = folds.null_sample(parts, threshold, evidence_threshold, evidence)
    _log.info("shift model: %d splices of %d users in %.1f s", len(largest.whole), n_users, time.perf_counter() - begin)
    return ShiftModel(
        categories=tuple(histories.codes.names.to_pylist()),
        clusters=folds.clusters_of_all,
        coefficients=coefficients,
        intercept=intercept,
        slope=slope,
        offset=offset,
        threshold=threshold,
        evidence_threshold=evidence_threshold,
        onset_share=_onset_share(log_odds[UNSPLICED]),
        null_start=null_start,
        null_log_odds=null_log_odds,
    )


class _Largest(NamedTuple):
    """Largest value of a statistic in each history, whose constructions are known."""

    whole: Float64Array  # [unspliced history]
    spliced: Float64Array  # [spliced history]
    gift: Float64Array  # [history with a gift]

    @classmethod
    def of(cls, values: dict[Construction, list[Float64Array]]) -> _Largest:
        """The largest of the values [case, day] of each case that has any."""
        found = [np.fmax.reduce(np.concatenate(values[kind]), axis=1) for kind in (UNSPLICED, SPLICED, GIFT)]
        return cls(*(each[~np.isnan(each)] for each in found))

    def threshold(self, flagged_share: float) -> float:
        """The threshold that flags this share of the unspliced histories, and no more because of gifts."""
        return float(self._thresholds(np.array([flagged_share]))[0])

    def _thresholds(self, flagged: Float64Array) -> Float64Array:
        by_whole = _tail_thresholds(self.whole, SAFETY * flagged, self.spliced)
        return np.maximum(by_whole, _tail_thresholds(self.gift, np.minimum(flagged / GIFT_SHARE, TAIL_SHARE)))

    def candidates(self, flagged_share: float) -> tuple[Float64Array, Float64Array]:
        """Shares up to this one, and their thresholds."""
        flagged = np.array([flagged_share, *(share for share in FLAGGED_SHARES if share < flagged_share)])
        return flagged, self._thresholds(flagged)


class _Examples(NamedTuple):
    """Features of one construction's cases."""

    construction: Construction
    fold: Int64Array  # [case]
    features: Float64Array  # [case, day, feature], nan where unknown

    def without(self, fold: int) -> _Examples:
        """The cases of the other folds."""
        keep = self.fold != fold
        return _Examples(self.construction, self.fold[keep], self.features[keep])

    def rows(self) -> Float64Array:
        """The known days as rows [row, feature]."""
        rows = self.features.reshape(-1, self.features.shape[-1])
        return rows[~np.isnan(rows).any(axis=1)]

    def log_odds(self, parts: list[tuple[Float64Array, float]]) -> Float64Array:
        """Log odds [case, day] by the coefficients fitted without the case's fold; nan where unknown."""
        found = np.full(self.features.shape[:2], np.nan)
        for fold, (coefficients, intercept) in enumerate(parts):
            mine = self.fold == fold
            found[mine] = self.features[mine] @ coefficients + intercept
        return found


class _Folds:
    """Users in folds, each with taste clusters fitted on the users of the others."""

    def __init__(self, histories: Histories, active_days: int, seed: int, maximum_users: int | None) -> None:
        self._histories, self._seed = histories, seed
        self._maximum_users = maximum_users
        points = self._points(0, active_days)
        self._fold = np.arange(len(histories.users), dtype=np.int64) % FOLDS
        self._fold[points.user] = points.fold
        user_days, n_categories = histories.user_days, len(histories.codes)
        key = user_days.user[user_days.score_entry] * n_categories + user_days.category
        days = sum_by(key, user_days.share, len(histories.users) * n_categories).reshape(-1, n_categories)
        self.clusters_of_all = self._clusters(days)
        self._clusters_without = [self._clusters(days[self._fold != fold]) for fold in range(FOLDS)]

    def _clusters(self, days: Float64Array) -> TasteClusters:
        return fit_taste_clusters(days, segment_mix(days.sum(axis=0)), self._seed)

    def _points(self, repeat: int, active_days: int) -> SplicePoints:
        return draw_splice_points(
            self._histories,
            active_days,
            self._seed,
            draw=repeat,
            folds=FOLDS,
            maximum_users=self._maximum_users,
            days_before=TRAINING_DAYS_BEFORE,
        )

    def examples(
        self, repeat: int, construction: Construction, active_days: int, evidence: EvidenceSettings
    ) -> _Examples:
        """Features of the first `active_days` days from the splice points of one draw on."""
        cases = construct(self._histories, self._points(repeat, active_days), construction, self._seed + repeat)
        entries = cases.first_days(active_days)
        case, day = np.nonzero(entries >= 0)
        values = np.full((*entries.shape, len(FEATURES)), np.nan)
        values[case, day] = self._features(cases.histories, entries[case, day], cases.fold[case], evidence)[0]
        return _Examples(construction, cases.fold, values)

    def null_sample(
        self,
        parts: list[tuple[Float64Array, float]],
        threshold: float,
        evidence_threshold: float,
        evidence: EvidenceSettings,
    ) -> tuple[Int64Array, Float64Array]:
        """Log odds of days of the users as they are, by their days before: where each range begins, and the values."""
        user_days = self._histories.user_days
        random = np.random.default_rng([self._seed, 6])
        entries = np.sort(random.permutation(np.flatnonzero(user_days.is_scored))[:NULL_ENTRIES])
        fold = self._fold[user_days.user[entries]]
        values, days_before = self._features(self._histories, entries, fold, evidence)
        log_odds = np.full(len(entries), np.nan)
        for number, (coefficients, intercept) in enumerate(parts):
            log_odds[fold == number] = values[fold == number] @ coefficients + intercept
        log_odds = _lifted(log_odds, values[:, _EVIDENCE], threshold, evidence_threshold)
        known = ~np.isnan(log_odds)
        log_odds, days_before = log_odds[known], days_before[known]
        sample = np.searchsorted(NULL_DAYS_BEFORE, days_before, side="right")
        return offsets(np.bincount(sample, minlength=len(NULL_DAYS_BEFORE) + 1)), log_odds[
            np.lexsort((log_odds, sample))
        ]

    def _features(
        self, histories: Histories, entries: Int64Array, fold: Int64Array, evidence: EvidenceSettings
    ) -> tuple[Float64Array, Float64Array]:
        """FEATURES [row, feature] and days before [row], each by the clusters fitted without the row's fold."""
        n_entries = len(histories.user_days.day)
        observers = []
        for number, clusters in enumerate(self._clusters_without):
            wanted = np.zeros(n_entries, dtype=bool)
            wanted[entries[fold == number]] = True
            observers.append(WindowObserver(clusters, wanted, WindowRatios.empty(n_entries)))
        found = trace_user_days(histories.user_days, len(histories.codes), evidence, observers)
        values, days_before = np.empty((len(entries), len(FEATURES))), np.empty(len(entries))
        for number, observer in enumerate(observers):
            mine = fold == number
            values[mine] = features(found.log_e, found.posterior, observer.found)[entries[mine]]
            days_before[mine] = observer.found.days_before[entries[mine]]
        return values, days_before


def _coefficients(examples: list[_Examples]) -> tuple[Float64Array, float]:
    """Coefficients of a logistic regression on FEATURES, and its intercept; both classes count alike."""
    from sklearn.linear_model import LogisticRegression

    rows = [one.rows() for one in examples]
    x = np.concatenate(rows)
    is_shift = np.concatenate(
        [np.full(len(row), one.construction.is_shift) for row, one in zip(rows, examples, strict=True)]
    )
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    model = LogisticRegression(C=REGULARISATION, max_iter=500).fit((x - centre) / scale, is_shift, _balanced(is_shift))
    coefficients = model.coef_[0] / scale
    return coefficients, float(model.intercept_[0] - coefficients @ centre)


def _platt_scaling(whole: Float64Array, spliced: Float64Array) -> tuple[float, float]:
    """Slope and offset of the log odds that a history is spliced (Platt 1999), if half of all are.

    Larger log odds never mean a smaller probability, also where spliced histories cannot be distinguished and the fit
    has a slope of either sign.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = np.concatenate([whole, spliced]), np.arange(len(whole) + len(spliced)) >= len(whole)
    model = LogisticRegression(C=1e6).fit(x[:, None], y, _balanced(y))
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    return (slope, offset) if slope >= SMALLEST_SLOPE else (SMALLEST_SLOPE, -SMALLEST_SLOPE * float(x.mean()))


def operating_threshold(largest: _Largest, flagged_share: float) -> float:
    """Return the threshold at which alerts are worth most, among those that flag few enough unchanged users.

    Candidates flag FLAGGED_SHARES of the unspliced histories; the chosen one has the largest F1 where EXPECTED_SHIFTS
    of all users shift. So where shifts stand out the alerts are many and nearly all true, and where they are
    not the list is short.

    Args:
        largest: Largest log odds of the histories.
        flagged_share: Largest share of unspliced histories that may be flagged.
    """
    flagged, thresholds = largest.candidates(flagged_share)
    found = (largest.spliced >= thresholds[:, None]).mean(axis=1)
    true, false = EXPECTED_SHIFTS * found, (1.0 - EXPECTED_SHIFTS) * flagged
    return float(thresholds[np.argmax(2 * true / (true + false + EXPECTED_SHIFTS))])


def shifted_share(whole: Float64Array, spliced: Float64Array) -> float:
    """Share of the unspliced histories that shifted by themselves, at most `MAXIMUM_SHIFTED`.

    The largest share of spliced histories that the unspliced ones could hold: the smallest ratio of their tails (the
    mixture proportion estimate of Blanchard, Lee and Scott, "Semi-Supervised Novelty Detection", JMLR 11 (2010)).
    """
    from sklearn.metrics import roc_auc_score

    is_spliced = np.arange(len(whole) + len(spliced)) >= len(whole)
    auc = roc_auc_score(is_spliced, np.concatenate([whole, spliced]))
    levels = np.quantile(spliced, np.linspace(0.2, 0.9, 15))
    ratios = [(np.mean(whole >= level) + 1.0 / len(whole)) / np.mean(spliced >= level) for level in levels]
    return float(min(np.interp(auc, EASILY_DISTINGUISHED, MAXIMUM_SHIFTED), *ratios))


def _tail_thresholds(whole: Float64Array, shares: Float64Array, spliced: Float64Array | None = None) -> Float64Array:
    """The thresholds that unchanged histories reach with these probabilities.

    Of the unspliced histories above a threshold, those that shifted by themselves do not count. Beyond the
    FEWEST_ABOVE largest the tail is exponential, as steep as it is before.
    """
    ordered = np.sort(whole)[::-1]
    above = np.arange(1, len(ordered) + 1) / len(ordered)
    if spliced is not None:
        found = 1.0 - np.searchsorted(np.sort(spliced), ordered, side="left") / len(spliced)
        above = np.maximum.accumulate(np.maximum(above - shifted_share(whole, spliced) * found, FEWEST_FALSE * above))

    def reached(share: float) -> float:
        """Smallest value that at most `share` reach."""
        return float(np.nextafter(ordered[min(int((above <= share).sum()), len(ordered) - 1)], np.inf))

    fewest = min(FEWEST_ABOVE / len(ordered), TAIL_SHARE / 2)
    farthest, begin = reached(fewest), reached(TAIL_SHARE)
    mean_excess = max((farthest - begin) / np.log(TAIL_SHARE / fewest), 1e-3)
    return np.array(
        [reached(share) if share >= fewest else farthest + mean_excess * np.log(fewest / share) for share in shares]
    )


def _lifted(fitted: Float64Array, log_e: Float64Array, threshold: float, evidence_threshold: float) -> Float64Array:
    """The log odds, at the threshold or above where log M has reached its own."""
    with np.errstate(invalid="ignore"):
        reached = log_e >= evidence_threshold
    return np.where(reached, np.maximum(fitted, threshold + log_e - evidence_threshold), fitted)


def _onset_share(log_odds: list[Float64Array]) -> float:
    """Of the largest of unshifted days, the part whose day before was not among them."""
    days = np.concatenate(log_odds)
    with np.errstate(invalid="ignore"):
        above = days >= np.nanquantile(days, 1.0 - LARGEST_DAYS)
    return float(1.0 - (above[:, 1:] & above[:, :-1]).sum() / max(above[:, 1:].sum(), 1))


def _balanced(y: BoolArray) -> Float64Array:
    """Weights of the rows, which sum to the same for both classes."""
    return np.asarray(np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean())))


def _probability(log_odds: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))
