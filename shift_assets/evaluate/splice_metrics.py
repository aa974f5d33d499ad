"""Metrics of detector scores on spliced histories, with bootstrap intervals over users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.evaluate.splices import E_VALUE, DetectorScores
from shift_assets.outcomes.estimates import Estimate, interval, resamples
from shift_assets.shift.learned.splices import UNSPLICED, Construction

THRESHOLDS = (10.0, 30.0, 100.0, 1000.0)
"""Thresholds A of the e-value at which the share of flagged histories is reported."""
_NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"))


class DetectorMetrics(NamedTuple):
    """Metrics of a detector that separates the histories of one construction from the same users' unspliced ones.

    For a construction without a shift they measure false alerts: the AUC should be at most 0.5, and the flagged share
    as small as that of the unspliced histories.
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
    """Share of unspliced histories with an e-value M >= `patience` within the first active days, and its bound."""

    kind: str
    patience: float
    active_days: int
    cases: int
    share: Estimate
    bound: float


def detector_metrics(
    scored: Iterable[DetectorScores], *, samples: int, seed: int, days: Sequence[int] | None = None
) -> list[DetectorMetrics]:
    """Metrics of every detector and construction after given numbers of active days, pooled over segments and seeds.

    Only histories with that many active days count; a construction without any has no row.

    Args:
        scored: Scores by segment, seed, detector and construction.
        samples: Bootstrap samples of the 95 % intervals, over users; a user's histories of all seeds go together.
        seed: Seed of the bootstrap.
        days: Numbers of active days; all from 1 on by default.
    """
    found = []
    for (detector, construction), (whole, made) in _against_unspliced(scored).items():
        pool, is_constructed = _pooled(whole, made, samples, seed)
        distance = np.concatenate([one.donor_distance for one in made])
        for day in days or range(1, pool.score.shape[1] + 1):
            if not pool.has_day[is_constructed, day - 1].any():
                continue
            rates = pool.rates(is_constructed, day)
            found.append(
                DetectorMetrics(
                    detector,
                    construction.kind,
                    construction.kept,
                    day,
                    pool.users,
                    len(distance),
                    float(np.isneginf(pool.score[is_constructed, day - 1]).mean()),
                    float(np.nanmean(distance)) if np.isfinite(distance).any() else float("nan"),
                    *(_estimate(rate) for rate in rates),
                )
            )
    return found


def flagged_shares(
    scored: Iterable[DetectorScores],
    *,
    samples: int,
    seed: int,
    thresholds: Sequence[float] = THRESHOLDS,
    detector: str = E_VALUE,
) -> list[Flagged]:
    """Share of histories that an e-value flags within 1, 2, … active days.

    Without a shift, M >= A on one of n days has a probability of at most n/A.

    Args:
        scored: Scores by segment, seed, detector and construction.
        samples: Bootstrap samples of the intervals.
        seed: Seed of the bootstrap.
        thresholds: Thresholds A.
        detector: The e-value's name.
    """
    by_construction: dict[Construction, list[DetectorScores]] = {}
    for one in scored:
        if one.detector != detector:
            continue
        by_construction.setdefault(one.construction, []).append(one)
    found = []
    for construction, parts in by_construction.items():
        pool = _Pool(parts, samples, seed)
        for patience, day in product(thresholds, range(1, pool.score.shape[1] + 1)):
            n_cases = int(pool.has_day[:, day - 1].sum())
            if not n_cases:
                continue
            share = pool.share_over(np.full(len(pool.threshold), np.log(patience)), day)
            found.append(Flagged(construction.kind, patience, day, n_cases, _estimate(share), min(1.0, day / patience)))
    return found


def shares_over(
    scored: Iterable[DetectorScores], detector: str, threshold: float | None, *, samples: int, seed: int
) -> list[tuple[Construction, int, Estimate]]:
    """Share of each construction's histories that reach the threshold within 1, 2, … active days.

    Args:
        scored: Scores by segment, seed, detector and construction.
        detector: The detector's name.
        threshold: Smallest score that is flagged; None for the threshold of each history's own fold.
        samples: Bootstrap samples of the intervals.
        seed: Seed of the bootstrap.
    """
    by_construction: dict[Construction, list[DetectorScores]] = {}
    for one in scored:
        if one.detector == detector:
            by_construction.setdefault(one.construction, []).append(one)
    found = []
    for construction, parts in by_construction.items():
        pool = _Pool(parts, samples, seed)
        smallest = pool.threshold if threshold is None else np.full(len(pool.threshold), threshold)
        for day in range(1, pool.score.shape[1] + 1):
            if pool.has_day[:, day - 1].any():
                found.append((construction, day, _estimate(pool.share_over(smallest, day))))
    return found


def recall_where_flagged(
    whole: Float64[Float64Array, " whole"], spliced: Float64[Float64Array, " spliced"], flagged_share: float
) -> tuple[float, float]:
    """AUC of spliced over unspliced histories, and the recall at a threshold that flags `flagged_share` of the latter.

    Histories without a score (nan) are left out.
    """
    from sklearn.metrics import roc_auc_score

    whole, spliced = whole[~np.isnan(whole)], spliced[~np.isnan(spliced)]
    is_spliced = np.arange(len(whole) + len(spliced)) >= len(whole)
    n_flagged = min(int(flagged_share * len(whole) + 1e-9), len(whole) - 1)
    threshold = np.sort(whole)[-1 - n_flagged]
    return float(roc_auc_score(is_spliced, np.concatenate([whole, spliced]))), float((spliced > threshold).mean())


def _pooled(
    whole: list[DetectorScores], made: list[DetectorScores], samples: int, seed: int
) -> tuple[_Pool, BoolArray]:
    """Both in one pool, and which of its histories were constructed."""
    pool = _Pool([*whole, *made], samples, seed)
    return pool, np.arange(len(pool.score)) >= sum(len(one.users) for one in whole)


def _against_unspliced(
    scored: Iterable[DetectorScores],
) -> dict[tuple[str, Construction], tuple[list[DetectorScores], list[DetectorScores]]]:
    """By detector and construction: the unspliced histories, and the constructed ones, of all segments and seeds."""
    by: dict[tuple[str, Construction], list[DetectorScores]] = {}
    for one in scored:
        by.setdefault((one.detector, one.construction), []).append(one)
    return {
        (detector, construction): (by[detector, UNSPLICED], parts)
        for (detector, construction), parts in by.items()
        if construction != UNSPLICED
    }


class _Pool:
    """Histories of several segments and seeds, and how often each occurs in each bootstrap sample of the users."""

    def __init__(self, parts: Sequence[DetectorScores], samples: int, seed: int) -> None:
        self.score = np.concatenate([np.nan_to_num(one.score, nan=-np.inf, posinf=np.inf) for one in parts])
        self.has_day = np.concatenate([one.has_day for one in parts])
        self.threshold = np.concatenate([one.threshold for one in parts])
        user = pa.chunked_array([one.users for one in parts]).dictionary_encode().combine_chunks().indices.to_numpy()
        self.users = int(user.max(initial=-1)) + 1
        drawn = resamples(self.users, samples, seed)
        self.weight = np.vstack([np.ones(self.users), drawn])[:, user]  # [1 + sample, case]; first the original sample

    def share_over(self, threshold: Float64Array, day: int) -> Float64Array:
        """Share [1 + sample] of the histories that reached their threshold [history]."""
        counted = self.has_day[:, day - 1]
        weight = self.weight[:, counted]
        return np.asarray(
            weight @ (self.score[counted, day - 1] >= threshold[counted]) / np.maximum(weight.sum(axis=1), 1e-12)
        )

    def rates(
        self, is_constructed: BoolArray, day: int
    ) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """AUC, average precision, recall at 1 % and at 5 % of the unspliced flagged, [1 + sample] each.

        All bootstrap samples share one sort of the scores; scikit-learn's metrics would sort once per sample.
        """
        has_day = self.has_day[:, day - 1]
        score, made = self.score[has_day, day - 1], is_constructed[has_day]
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


def _estimate(values: Float64Array) -> Estimate:
    """The first value with the interval of the others; nan without finite values."""
    replicates = values[1:][np.isfinite(values[1:])]
    return interval(float(values[0]), replicates) if len(replicates) else _NO_ESTIMATE._replace(value=float(values[0]))
