"""The shift classifier: the probability that a user's newest events come from another interest than those before.

Daily evidence of a shift (`shift/`) needs several active days; recommendations that wait for it come late. So the
classifier reads single events. With s the share of an item in the log, the log-likelihood ratio of "any user took it"
against "this user took it" is

    r(event) = -log( w_item · (share of the item in the user's history) / s(item)
                   + w_category · (share of its category there) / s(category) + w_any )

whose weights are a mixture fitted by expectation-maximisation to what users do on their last day. Summed since each
of the user's last active days, it is turned into a probability by a logistic regression trained on spliced histories
(`spliced_histories`) of the same log, half of which shifted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.models.data.sequences import RETURN
from shift_assets.recommend.shift_adaptation.spliced_histories import splice_window
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

CANDIDATE_STARTS = 5
"""Active days, the newest first, with any of which a shift may have begun."""
START_PENALTY = 1.5
"""Evidence, in nats, that each active day further back has to add."""
EM_STEPS = 60
MINIMUM_EVIDENCE = -3.0
"""Evidence against a shift from one event, in nats, at most: a repeated item may be a habit that outlasts a shift."""
SHRINKAGE = 3.0
TRAINING_DAYS = 14
"""Last days of the window, at most a fourth of it, in which the spliced histories continue."""
TRAINING_EVENTS = 30
TRAINING_PAIRS = 300
MINIMUM_PAIRS = 10
FOLDS = 4
MINIMUM_DAYS = 3
"""Active days before the splice that a training history needs."""


@dataclass(frozen=True)
class ShiftClassifier:
    """A fitted shift classifier.

    Attributes:
        mixture: Weights of item, category and any user.
        coefficients: Of the logistic regression, [feature].
        intercept: Of the logistic regression.
        auc: Area under the ROC curve over the training users' events, cross-validated by user.
        users: Training users.
    """

    mixture: tuple[float, float, float]
    coefficients: tuple[float, ...]
    intercept: float
    auc: float
    users: int

    def to_json(self) -> str:
        """The classifier as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ShiftClassifier:
        """The classifier that `to_json` wrote."""
        found = json.loads(text)
        return cls(**{**found, "mixture": tuple(found["mixture"]), "coefficients": tuple(found["coefficients"])})

    def log_odds(
        self, window: Window, log: EventShares
    ) -> tuple[Float64[Float64Array, " user"], Int64[Int64Array, " user"]]:
        """Predict a shift from the newest events.

        Args:
            window: Histories to score.
            log: Shares of items and categories in the log.

        Returns:
            Log odds of a shift, -inf for a user with a single active day, [user], and the day number on which it would
            have begun, [user].
        """
        features, since, known = _features(window, log, np.array(self.mixture))
        odds = features @ np.array(self.coefficients) + self.intercept
        return np.where(known, odds, -np.inf), since


@dataclass(frozen=True)
class EventShares:
    """Shares of the log's events by item code and by category code, with add-one smoothing."""

    items: Float64Array
    categories: Float64Array

    @classmethod
    def of(cls, window: Window) -> EventShares:
        """Shares among the events of `window`."""
        sequences = window.sequences
        items = np.bincount(sequences.items, minlength=window.item_count + 1) + 1.0
        categories = np.bincount(sequences.categories, minlength=len(window.vocabulary.categories) + 1) + 1.0
        return cls(items / items.sum(), categories / categories.sum())


def fit_shift_classifier(
    events: pa.Table, window: Window, settings: RecommendationSettings, seed: int
) -> ShiftClassifier | None:
    """Fit a shift classifier on the last days of `window`, from histories spliced before them.

    Args:
        events: Rows of clean_events of the window.
        window: Look-back window; its day is the last one used.
        settings: Lengths of the window.
        seed: Seed of the splices and the folds.

    Returns:
        The classifier; None with fewer than MINIMUM_PAIRS training users.
    """
    days = min(TRAINING_DAYS, len(np.unique(window.sequences.days)) // 4)
    before = Window.of(events, window.day - timedelta(days=days), settings)
    found = splice_window(events, before, days=days, minimum_days=MINIMUM_DAYS, maximum_pairs=TRAINING_PAIRS, seed=seed)
    if found is None or len(found[0].spliced) < 2 * MINIMUM_PAIRS:
        return None
    spliced, window_of_spliced = found
    log = EventShares.of(before)
    mixture = _mixture(before, log)
    users, ends = spliced.first_events(TRAINING_EVENTS)
    features, _, known = _features(window_of_spliced.prefixes(users, ends), log, mixture)
    # A shift shows from the first event after the splice on.
    known &= ends > spliced.first_event[users]
    labels, pairs = spliced.spliced[users][known], spliced.pair[users][known]
    if len(np.unique(labels)) < 2:
        return None
    return _fit_regression(mixture, features[known], labels, pairs, seed)


def _fit_regression(
    mixture: Float64Array, features: Float64Array, labels: BoolArray, pairs: Int64Array, seed: int
) -> ShiftClassifier:
    """Logistic regression of `labels` [point] on `features` [point, feature], validated across `pairs` [point]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    odds = cross_val_predict(estimator, features, labels, groups=pairs, cv=folds, method="decision_function")
    scaler = StandardScaler().fit(features)
    fitted = LogisticRegression(max_iter=1_000).fit(scaler.transform(features), labels)
    coefficients = fitted.coef_[0] / scaler.scale_
    return ShiftClassifier(
        (float(mixture[0]), float(mixture[1]), float(mixture[2])),
        tuple(coefficients.tolist()),
        float(fitted.intercept_[0] - coefficients @ scaler.mean_),
        auc=float(roc_auc_score(labels, odds)),
        users=len(np.unique(pairs)),
    )


def _mixture(window: Window, log: EventShares) -> Float64Array:
    """Mixture weights of item, category and any user in what users did on their last active day."""
    recent = _ActiveDays.of(window)
    ratios = recent.ratios(0, log)[1]
    weights = np.full(3, 1 / 3)
    for _ in range(EM_STEPS if ratios.shape[1] else 0):
        parts = weights[:, None] * ratios
        weights = (parts / parts.sum(axis=0)).mean(axis=1)
    return np.asarray(weights)


def _features(window: Window, log: EventShares, mixture: Float64Array) -> tuple[Float64Array, Int64Array, BoolArray]:
    """Features [user, feature], the likeliest first day of a shift [user], and whether there is a history [user]."""
    recent = _ActiveDays.of(window)
    users = len(window.sequences.users)
    sums, counts, defined = (np.zeros((users, CANDIDATE_STARTS)) for _ in range(3))
    history = np.zeros(users)
    for back in range(CANDIDATE_STARTS):
        owner, ratios = recent.ratios(back, log)
        evidence = np.maximum(-np.log(np.maximum(mixture @ ratios, np.finfo(np.float64).tiny)), MINIMUM_EVIDENCE)
        sums[:, back] = np.bincount(owner, evidence, minlength=users)
        counts[:, back] = np.bincount(owner, minlength=users)
        defined[:, back] = recent.has_history(back)
        history = np.maximum(history, np.where(defined[:, back], recent.before(back), 0))
    start = np.where(defined > 0, sums - START_PENALTY * np.arange(CANDIDATE_STARTS), -np.inf).argmax(axis=1)
    row = np.arange(users)
    mean, scaled = sums / (counts + SHRINKAGE), sums / np.sqrt(counts + SHRINKAGE)
    features = np.column_stack(
        [
            mean[:, 0],
            scaled[:, 0],
            np.log1p(counts[:, 0]),
            mean[row, start],
            scaled[row, start],
            np.log1p(counts[row, start]),
            np.log1p(history),
            mean.max(axis=1),
        ]
    )
    return features, recent.first_day(start), defined[:, 0] > 0


@dataclass(frozen=True)
class _ActiveDays:
    """The last active days of every user, and the history before each of them."""

    window: Window
    visit_starts: Int64Array  # [visit], first event
    last_visit: Int64Array  # [user]; -1 without events
    first_visit: Int64Array  # [user]
    item_keys: Int64Array  # [event], sorted
    category_keys: Int64Array  # [event], sorted

    @classmethod
    def of(cls, window: Window) -> _ActiveDays:
        sequences, owners, visit = window.sequences, window.owners, window.visits
        some = sequences.lengths > 0
        last, first = np.full(len(sequences.users), -1), np.zeros(len(sequences.users), dtype=np.int64)
        last[some] = visit[sequences.offsets[1:][some] - 1]
        first[some] = visit[sequences.offsets[:-1][some]]
        position = np.arange(len(owners)) - sequences.offsets[:-1][owners]
        return cls(
            window,
            visit_starts=np.flatnonzero(np.diff(visit, prepend=-1)),
            last_visit=last,
            first_visit=first,
            item_keys=np.sort(_keys(window, owners, sequences.items, position)),
            category_keys=np.sort(_keys(window, owners, sequences.categories, position)),
        )

    def has_history(self, back: int) -> BoolArray:
        """Whether there are active days [user] before the one that is `back` days before the last."""
        return np.asarray(self.last_visit - back > self.first_visit)

    def _start(self, back: Int64Array | int) -> Int64Array:
        """First event [user] of the active day that is `back` days before the last."""
        visit = np.clip(self.last_visit - back, 0, max(len(self.visit_starts) - 1, 0))
        return self.visit_starts[visit] if len(self.visit_starts) else np.zeros_like(visit)

    def before(self, back: int) -> Int64Array:
        """Events [user] before that day."""
        return np.asarray(self._start(back) - self.window.sequences.offsets[:-1])

    def first_day(self, back: Int64Array) -> Int64Array:
        days = self.window.sequences.days
        return days[self._start(back)] if len(days) else self.window.today

    def ratios(self, back: int, log: EventShares) -> tuple[Int64Array, Float64Array]:
        """User [event] of the events since that day, and their shares in the history over the log's, [3, event]."""
        sequences, owners = self.window.sequences, self.window.owners
        usable = self.has_history(back)
        start = np.where(usable, self._start(back), sequences.offsets[1:])
        chosen = np.flatnonzero((np.arange(len(owners)) >= start[owners]) & (sequences.behaviors != RETURN))
        owner = owners[chosen]
        held = (start - sequences.offsets[:-1])[owner]
        item, category = sequences.items[chosen], sequences.categories[chosen]
        of_item = self._count(self.item_keys, owner, item, held) / held / log.items[item]
        of_category = self._count(self.category_keys, owner, category, held) / held / log.categories[category]
        return owner, np.stack([of_item, of_category, np.ones(len(chosen))])

    def _count(self, keys: Int64Array, owner: Int64Array, code: Int64Array, held: Int64Array) -> Int64Array:
        """How often the first `held` events of a user's history have the code."""
        first = _keys(self.window, owner, code, np.zeros_like(held))
        return np.searchsorted(keys, first + held) - np.searchsorted(keys, first)


def _keys(window: Window, owner: Int64Array, code: Int64Array, position: Int64Array) -> Int64Array:
    """One integer per (user, code, position in the user's history), ordered in this order."""
    codes = max(window.item_count, len(window.vocabulary.categories)) + 1
    return np.asarray((owner * codes + code) * (int(window.sequences.lengths.max(initial=0)) + 1) + position)
