"""The learned shift detector: gradient boosting that was taught by histories spliced of two users of one segment.

What belongs here: teaching, scoring and the stored form. How splices are made stands in `shift.splices`, what the
model looks at in `models.shift_features`. The stored model is arrays in safetensors: no pickle, no class of a
library, and the same score to the bit after a reload.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array
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
"""Small steps on random thirds of rows and features: the rows of one user are alike, and single trees learn them."""
SPLICE_POINTS = 600
MAXIMUM_SPLICE_POINTS_PER_USER = 12
"""Cuts that teach. A small segment gains by cutting each user often, in other places and with other donors: of 34
users 12 cuts each raised the AUC from .904 to .928 (benchmarks/RESULTS.md)."""
CALIBRATION_FOLDS = 4
"""One in so many users under test teaches no tree, but what a margin means as a probability."""
MINIMUM_USERS = 12
"""Users under test below which nothing is taught: 34 still gave an AUC of .93 (benchmarks/RESULTS.md), and fewer than
12 leave fewer than three for the calibration."""
_HEADER, _WEIGHTS = "shift_assets", "model.safetensors"


class Trees(NamedTuple):
    """Regression trees, their nodes one after the other; a leaf has no children (-1)."""

    root: NDArray[np.int32]  # [tree]
    left: NDArray[np.int32]  # [node]
    right: NDArray[np.int32]  # [node]
    feature: NDArray[np.int32]  # [node]
    threshold: Float64Array  # [node], to the left up to and with it
    value: Float64Array  # [node]


@dataclass(frozen=True)
class ShiftModel:
    """A taught detector of one segment."""

    categories: tuple[str, ...]
    metric: Metric  # its last category stands for all others
    trees: Trees
    slope: float
    intercept: float

    def probability(self, histories: Histories, entries: Int64Array) -> Float64Array:
        """Probability [row] that the user's interest shifted within the last eight or so days up to each entry.

        Stated for a world in which as many users shift as do not: what ranks, not how many shifts there are.
        """
        rows = features(histories, entries, self.categories, self.metric).astype(np.float32)
        return _probability(self.slope * _margin(rows, *self.trees) + self.intercept)

    def to_bytes(self) -> bytes:
        """Safetensors; the same model gives the same bytes."""
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
        """Raises ValueError for what is no model of this version's features."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(content)
            end = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(json.loads(content[8:end])["__metadata__"][_HEADER])
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"no shift detector of this program ({error})") from error
        if tuple(header["features"]) != FEATURES:
            raise ValueError("the shift detector was taught with other features; run its self-check again")
        slope, intercept = tensors["calibration"].tolist()
        return cls(
            tuple(header["categories"]),
            Metric(**{name: tensors[f"metric.{name}"] for name in Metric.__slots__}),
            Trees(**{name: tensors[f"trees.{name}"] for name in Trees._fields}),
            slope,
            intercept,
        )


def save(model: ShiftModel, models: Path, segment: str, day: date) -> tuple[str, str]:
    """Write the model below the folder `models`; its path relative to that, and the SHA-256 of its bytes."""
    from shift_assets.shift.learned.model_folder import publish_folder

    content = model.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    path = f"{SHIFT_DETECTOR}/{segment}/{day.isoformat()}-{digest[:16]}"
    publish_folder({_WEIGHTS: content}, models / path)
    return path, digest


def load(models: Path, path: str, digest: str) -> ShiftModel:
    """The model at `path` below the folder `models`; raises ValueError where it is missing or not what was saved."""
    file = models / path / _WEIGHTS
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}); materialise detector_self_check again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{file}: was changed after it was saved; materialise detector_self_check again")
    return ShiftModel.from_bytes(content)


@dataclass
class LearnedDetector:
    """The learned detector behind the interface that all detectors share."""

    model: ShiftModel
    name: str = "learned"

    def score(self, histories: Histories) -> Float64Array:
        return self.model.probability(histories, np.arange(len(histories.user_days.day), dtype=np.int64))


def score_active(model: ShiftModel, user_days: UserDays, codes: CategoryCodes) -> Float64Array:
    """Probability of a recent shift [user] of users whose rings end with the day that is scored.

    The rings hold at least the last `shift_features.RECENT_DAYS` active days, or all there are.
    """
    if not user_days.n_users:
        return np.zeros(0)
    nameless = pa.nulls(user_days.n_users, pa.string())
    return model.probability(Histories(nameless, codes, user_days), user_days.start[1:] - 1)


def shift_scores(model: ShiftModel, state: pa.Table) -> pa.Table:
    """`score_active` of the users of one partition of `interest_state` who were active on its day.

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
    splice_points: int = SPLICE_POINTS,
) -> ShiftModel | None:
    """A model taught on the splices of these histories; None where fewer than MINIMUM_USERS can be cut.

    Every user under test is cut again and again, up to MAXIMUM_CUTS_PER_USER times, until there are about
    `splice_points`, and
    stands each time in every construction of `shift.splices`: shifts of all donors, whole and partial, on one side;
    whole, rearranged and gift histories on the other. All first `active_days` days from a cut on teach, so that a
    shift is known after one day or after eight.
    """
    categories = tuple(histories.codes.names.to_pylist())
    metric = fit_metric(aligned_shares(histories, categories), histories.user_days.user)
    rows, is_shift, is_held_out = [], [], []
    histories = histories.take_users(np.flatnonzero(histories.user_days.n_days >= 2 * active_days))
    n_users = min(len(histories.users), maximum_users or len(histories.users))
    if n_users < MINIMUM_USERS:
        return None
    for repeat in range(int(np.clip(round(splice_points / n_users), 1, MAXIMUM_SPLICE_POINTS_PER_USER))):
        splice_point = draw_splice_points(
            histories, active_days, seed, draw=repeat, folds=CALIBRATION_FOLDS, maximum_users=maximum_users
        )
        splice_point = replace(splice_point, fold=np.minimum(splice_point.fold, 1))
        for construction in CONSTRUCTIONS:
            cases = construct(histories, splice_point, construction, seed + repeat)
            entries = cases.first_days(active_days)
            case, day = np.nonzero(entries >= 0)
            rows.append(features(cases.histories, entries[case, day], categories, metric).astype(np.float32))
            is_shift.append(np.full(len(case), construction.is_shift))
            is_held_out.append(cases.fold[case] == 0)
    x, y, held_out = np.concatenate(rows), np.concatenate(is_shift), np.concatenate(is_held_out)
    trees = _boost(x[~held_out], y[~held_out], seed)
    slope, intercept = _platt_scaling(_margin(x[held_out], *trees), y[held_out])
    return ShiftModel(categories, metric, trees, slope, intercept)


def _boost(x: NDArray[np.float32], y: NDArray[np.bool_], seed: int) -> Trees:
    """Friedman's stochastic gradient boosting (2002) of the log-odds, both classes of equal weight."""
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

    def children(name: str) -> NDArray[np.int32]:
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


def _platt_scaling(margin: Float64Array, y: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the log-odds (Platt 1999), both classes of equal weight."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6).fit(margin[:, None], y, _balanced_weights(y))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _balanced_weights(y: NDArray[np.bool_]) -> Float64Array:
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
