"""The learned shift detector: gradient boosting trained on spliced histories of one segment.

Training, scoring and the stored form belong here; splices are made in `shift.learned.splices`, features in
`shift.learned.features`. The stored model is arrays in safetensors: no pickle, no class of a library, and the same
score to the bit after a reload.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64
from numba import njit

from shift_assets.arrays import BoolArray, CategoryCodes, Float32Array, Float64Array, Int32Array, Int64Array
from shift_assets.errors import PermanentError
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays, read_user_days, user_day_categories
from shift_assets.shift.learned.features import FEATURES, Metric, aligned_shares, features, fit_metric
from shift_assets.shift.learned.splices import CONSTRUCTIONS, construct, draw_splice_points

SHIFT_DETECTOR = "shift_detector"
TREES = 100
DEPTH = 4
LEARNING_RATE = 0.08
ROWS_PER_TREE = 0.3
FEATURES_PER_SPLIT = 0.3
MINIMUM_LEAF = 40
"""Small steps on random thirds of rows and features: the rows of one user are similar, and trees would overfit them."""
SPLICE_POINTS = 600
MAXIMUM_SPLICE_POINTS_PER_USER = 12
"""Splice points to train on. A small segment gains by splicing each user often, on other days and with other donors:
with 34 users, 12 splice points each raised the AUC from .904 to .928 (benchmarks/RESULTS.md)."""
CALIBRATION_FOLDS = 4
"""One of this many users trains no tree, but calibrates the margin as a probability."""
MINIMUM_USERS = 12
"""Users with enough active days below which nothing is fitted: 34 still gave an AUC of .93 (benchmarks/RESULTS.md), and
fewer than 12 leave fewer than three for the calibration."""
_HEADER, _WEIGHTS = "shift_assets", "model.safetensors"

_log = logging.getLogger(__name__)


class UnreadableShiftModel(PermanentError):
    """A stored shift detector is missing, changed, or not readable by this version."""


class Trees(NamedTuple):
    """Regression trees as arrays, their nodes one after the other; a leaf has no children (-1)."""

    root: Int32Array  # [tree]
    left: Int32Array  # [node]
    right: Int32Array  # [node]
    feature: Int32Array  # [node]
    threshold: Float64Array  # [node], values up to and including it go left
    value: Float64Array  # [node]


@dataclass(frozen=True)
class ShiftModel:
    """A fitted shift classifier of one segment."""

    categories: tuple[str, ...]
    metric: Metric  # its last category is the sum of all others
    trees: Trees
    slope: float
    intercept: float

    def probability(self, histories: Histories, entries: Int64[Int64Array, " row"]) -> Float64[Float64Array, " row"]:
        """Probability that the user's interest shifted within about the last eight active days up to each entry.

        It assumes that half of all users shift: use it to rank, not to count shifts.
        """
        rows = features(histories, entries, self.categories, self.metric).astype(np.float32)
        return _probability(self.slope * _margin(rows, *self.trees) + self.intercept)

    def to_bytes(self) -> bytes:
        """Return the model as safetensors; the same model gives the same bytes."""
        from safetensors.numpy import save

        header = {"categories": self.categories, "features": FEATURES}
        tensors = {
            **{f"trees.{name}": part for name, part in self.trees._asdict().items()},
            **{f"metric.{name}": getattr(self.metric, name) for name in Metric.__slots__},
            "calibration": np.array([self.slope, self.intercept]),
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
        slope, intercept = tensors["calibration"].tolist()
        return cls(
            tuple(header["categories"]),
            Metric(**{name: tensors[f"metric.{name}"] for name in Metric.__slots__}),
            Trees(**{name: tensors[f"trees.{name}"] for name in Trees._fields}),
            slope,
            intercept,
        )


def save(model: ShiftModel, models: Path, segment: str, day: date) -> tuple[str, str]:
    """Write the model below the folder `models`, and return its path relative to that and the SHA-256 of its bytes."""
    from shift_assets.shift.learned.model_folder import publish_folder

    content = model.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    path = f"{SHIFT_DETECTOR}/{segment}/{day.isoformat()}-{digest[:16]}"
    publish_folder({_WEIGHTS: content}, models / path)
    return path, digest


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
    """A fitted shift classifier behind the interface of detectors; kept for a public benchmark of detectors."""

    model: ShiftModel
    name: str = "learned"

    def score(self, histories: Histories) -> Float64[Float64Array, " entry"]:
        """Return the probability of a recent shift."""
        return self.model.probability(histories, np.arange(len(histories.user_days.day), dtype=np.int64))


def score_active(model: ShiftModel, user_days: UserDays, codes: CategoryCodes) -> Float64Array:
    """Return the probability of a recent shift, [user], at each user's last entry.

    user_days: at least the last `RECENT_DAYS` active days of `shift.learned.features`, or all there are.
    """
    if not user_days.n_users:
        return np.zeros(0)
    unnamed = pa.nulls(user_days.n_users, pa.string())
    return model.probability(Histories(unnamed, codes, user_days), user_days.start[1:] - 1)


def shift_scores(model: ShiftModel, state: pa.Table) -> pa.Table:
    """Return `score_active` of the users of one partition of `interest_state` who were active on its day.

    Columns `day`, `segment`, `user_id`, `model_shift_score`.
    """
    active = state.filter(pc.equal(state["last_active_day"], state["day"]))
    codes = CategoryCodes(user_day_categories(active["recent_days"]))
    score = score_active(model, read_user_days(active["recent_days"], codes), codes)
    return active.select(["day", "segment", "user_id"]).append_column("model_shift_score", pa.array(score))


def fit(
    histories: Histories,
    active_days: int,
    seed: int,
    *,
    maximum_users: int | None = None,
    n_splice_points: int = SPLICE_POINTS,
) -> ShiftModel | None:
    """Fit a model on spliced histories; the same histories and seed give the same model.

    Every user is spliced repeatedly, at most MAXIMUM_SPLICE_POINTS_PER_USER times, until there are about
    `n_splice_points`, and each time enters every construction of `shift.learned.splices`: shifts to all donors, whole
    and partial, as positives; unspliced, permuted and gift histories as negatives. All of the first `active_days` days
    from a splice point on are examples, so that a shift is recognised after one day as well as after eight.

    Args:
        histories: users of one segment.
        active_days: active days that a user needs on either side of a splice point.
        seed: seed of splices and trees.
        maximum_users: users to splice; None for all.
        n_splice_points: number of splice points to aim at.

    Returns:
        The model; None where fewer than MINIMUM_USERS have enough active days.
    """
    begin = time.perf_counter()
    categories = tuple(histories.codes.names.to_pylist())
    metric = fit_metric(aligned_shares(histories, categories), histories.user_days.user)
    rows, is_shift, is_held_out = [], [], []
    histories = histories.take_users(np.flatnonzero(histories.user_days.n_days >= 2 * active_days))
    n_users = min(len(histories.users), maximum_users or len(histories.users))
    if n_users < MINIMUM_USERS:
        return None
    for repeat in range(int(np.clip(round(n_splice_points / n_users), 1, MAXIMUM_SPLICE_POINTS_PER_USER))):
        points = draw_splice_points(
            histories, active_days, seed, draw=repeat, folds=CALIBRATION_FOLDS, maximum_users=maximum_users
        )
        points = replace(points, fold=np.minimum(points.fold, 1))
        for construction in CONSTRUCTIONS:
            cases = construct(histories, points, construction, seed + repeat)
            entries = cases.first_days(active_days)
            case, day = np.nonzero(entries >= 0)
            rows.append(features(cases.histories, entries[case, day], categories, metric).astype(np.float32))
            is_shift.append(np.full(len(case), construction.is_shift))
            is_held_out.append(cases.fold[case] == 0)
    x, y, held_out = np.concatenate(rows), np.concatenate(is_shift), np.concatenate(is_held_out)
    trees = _boost(x[~held_out], y[~held_out], seed)
    slope, intercept = _platt_scaling(_margin(x[held_out], *trees), y[held_out])
    _log.info("shift model: %d examples of %d users in %.1f s", len(x), n_users, time.perf_counter() - begin)
    return ShiftModel(categories, metric, trees, slope, intercept)


def _boost(x: Float32Array, y: BoolArray, seed: int) -> Trees:
    """Fit stochastic gradient boosting (Friedman 2002) of the log odds, both classes with equal weight."""
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(
        n_estimators=TREES,
        max_depth=DEPTH,
        learning_rate=LEARNING_RATE,
        subsample=ROWS_PER_TREE,
        max_features=FEATURES_PER_SPLIT,
        min_samples_leaf=MINIMUM_LEAF,
        random_state=seed % 2**32,
    ).fit(x, y, _balanced_weights(y))
    parts = [estimator.tree_ for estimator in model.estimators_[:, 0]]
    root = np.concatenate([[0], np.cumsum([part.node_count for part in parts])])

    def children(name: str) -> Int32Array:
        found = [
            np.where(getattr(part, name) >= 0, getattr(part, name) + first, -1)
            for part, first in zip(parts, root, strict=False)
        ]
        return np.concatenate(found).astype(np.int32)

    return Trees(
        root[:-1].astype(np.int32),
        children("children_left"),
        children("children_right"),
        np.concatenate([part.feature for part in parts]).astype(np.int32),
        np.concatenate([part.threshold for part in parts]),
        LEARNING_RATE * np.concatenate([part.value[:, 0, 0] for part in parts]),
    )


def _platt_scaling(margin: Float64Array, y: BoolArray) -> tuple[float, float]:
    """Slope and intercept of the log odds (Platt 1999), both classes with equal weight."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6).fit(margin[:, None], y, _balanced_weights(y))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _balanced_weights(y: BoolArray) -> Float64Array:
    """Weights of the rows, which sum to the same for both classes."""
    return np.asarray(np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean())))


def _probability(log_odds: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))


@njit(cache=True)
def _margin(x, root, left, right, feature, threshold, value):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Sum of the trees' leaves, [row]."""
    out = np.zeros(len(x))
    for row in range(len(x)):
        for tree in root:
            node = tree
            while left[node] >= 0:
                node = left[node] if x[row, feature[node]] <= threshold[node] else right[node]
            out[row] += value[node]
    return out
