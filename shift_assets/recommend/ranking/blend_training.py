"""Training of the blend: the weights of the candidate features, fitted on what users took next.

Generators are fitted as of days in the past; each proposes its best items for every user; what the user took in the
days after is the label. A candidate is described by every generator's score (over the user's best), its reciprocal
rank there, and whether it is among the generator's best; by the item's popularity and the days since it was first and
last seen, the share of its category in the user's history, and the user's interactions with the item. All of them also
enter multiplied by the user's activity, so that users of few events get other weights than users of many. A linear
utility is fitted by the listwise softmax loss (Cao et al., ICML 2007): per user, the mean over the taken items of
-log(share of exp(utility) among the candidates), plus a small L2 penalty.

Gradient-boosted trees on the same features were no better on held-out weeks and 25 times as expensive.

On held-out users the fitted utility is compared with every generator alone and with the fixed blend; the best of them
is chosen, so a learned blend that does not beat its best generator is replaced by it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.models.metrics import ndcg_at_k, recall_at_k
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.exclusions import excluded_pairs, in_catalogue, pairs_in_block
from shift_assets.recommend.ranking.blend import Blend, HeldOutMetrics
from shift_assets.recommend.ranking.features import (
    GENERATOR_FEATURES,
    ContextFeatures,
    candidate_pairs,
    feature_names,
    values_at,
)
from shift_assets.recommend.ranking.training_snapshot import TrainingSnapshot
from shift_assets.recommend.window import blocks_of
from shift_assets.settings.root import GeneratorName, RecommendationSettings

PENALTY = 1e-3
"""On the squared weights; a tenth and ten times as much score within a hundredth on held-out weeks."""
FOLDS = 4
MINIMUM_USERS = 30
"""With fewer, differences between generators are noise."""
MAXIMUM_USERS = 1_500
"""Users that a blend is fitted on, sampled by the seed where there are more: some 200 MiB of candidates."""
LEARNED, FIXED = "learned", "fixed"

_log = logging.getLogger(__name__)


def fit_blend(snapshots: Sequence[TrainingSnapshot], settings: RecommendationSettings, seed: int) -> Blend | None:
    """Fit the blend on what the target users of the training snapshots took.

    Args:
        snapshots: Histories and labels; a user counts once per snapshot, all with the same weight.
        settings: Of its `sources` those are used whose inputs every snapshot has.
        seed: Seed of the folds and of the sample of users.

    Returns:
        The best option on held-out users; None with fewer than MINIMUM_USERS users or nothing taken.
    """
    from threadpoolctl import threadpool_limits

    names = tuple(
        name
        for name in settings.candidate_generators
        if all(GENERATORS[name].can_fit(snapshot.inputs) for snapshot in snapshots)
    )
    if not names or not snapshots:
        return None
    examples = _TrainingExamples.of(
        [_build_examples(snapshot, users, names) for snapshot, users in _sample_users(snapshots, seed)]
    )
    people, example_user = np.unique(examples.people, return_inverse=True)
    if len(people) < MINIMUM_USERS or not examples.taken.any():
        return None
    # One thread: sums in another order would be other weights.
    with threadpool_limits(limits=1, user_api="blas"):
        return _select_blend(examples, names, example_user, settings, seed)


def _select_blend(
    examples: _TrainingExamples,
    names: tuple[GeneratorName, ...],
    example_user: Int64Array,
    settings: RecommendationSettings,
    seed: int,
) -> Blend:
    """The best blend of generators `names` on held-out users; `example_user[example]` numbers the user."""
    people = int(example_user.max()) + 1
    fold = (np.random.default_rng(seed).permutation(people) % FOLDS)[example_user]
    width = len(feature_names(names))
    options: dict[str, Float64Array] = {
        name: np.eye(width)[len(GENERATOR_FEATURES) * position] for position, name in enumerate(names)
    }
    options[FIXED] = np.sum([options[name] * settings.weights.get(name, 0.0) for name in names], axis=0)
    utilities = {name: examples.features @ weights.astype(np.float32) for name, weights in options.items()}
    utilities[LEARNED] = np.zeros(len(examples.rows), dtype=np.float32)
    for number in range(FOLDS):
        held = fold == number
        weights = _fit_weights(examples, ~held)
        inside = held[examples.rows]
        utilities[LEARNED][inside] = examples.features[inside] @ weights.astype(np.float32)
    metrics = {name: examples.quality(utility, settings.k) for name, utility in sorted(utilities.items())}
    chosen = max(metrics, key=lambda name: (sum(metrics[name]), name == LEARNED))
    if chosen == LEARNED:
        weights = _fit_weights(examples, np.ones(len(examples.relevant), dtype=bool))
    else:
        # The order is given; one scale sets how steep the utility is, so that scores are comparable between blends.
        weights = options[chosen] * _fit_scale(examples, utilities[chosen])
    _log.info("blend of %d generators fitted on %d users: chose %s", len(names), people, chosen)
    return Blend(names, tuple(map(float, weights)), settings.candidates, chosen, people, metrics)


class _TrainingExamples(NamedTuple):
    """Candidates of training examples (a user in a snapshot), one example after the other.

    Attributes:
        rows: Example [candidate], ascending.
        features: [candidate, feature].
        taken: Whether the user took it, [candidate].
        relevant: Items that the user took, [example].
        people: Pseudonym of the user, [example].
    """

    rows: Int64Array
    features: Float32Array
    taken: BoolArray
    relevant: Int64Array
    people: npt.NDArray[np.str_]

    @classmethod
    def of(cls, parts: Sequence[_TrainingExamples]) -> _TrainingExamples:
        before = np.cumsum([0, *(len(part.relevant) for part in parts)])
        rows = [part.rows + start for part, start in zip(parts, before, strict=False)]
        return cls(np.concatenate(rows), *(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))

    def quality(self, utility: Float32Array, k: int) -> HeldOutMetrics:
        """Metrics of the top `k` by `utility` [candidate]; ties go to the earlier candidate."""
        order = np.lexsort((-utility, self.rows))
        rows = self.rows[order]
        position = np.arange(len(rows)) - np.searchsorted(rows, rows)
        hits = np.zeros((len(self.relevant), k), dtype=bool)
        shown = position < k
        hits[rows[shown], position[shown]] = self.taken[order[shown]]
        return HeldOutMetrics(
            float(recall_at_k(hits, self.relevant).mean()), float(ndcg_at_k(hits, self.relevant).mean())
        )


def _sample_users(snapshots: Sequence[TrainingSnapshot], seed: int) -> list[tuple[TrainingSnapshot, Int64Array]]:
    """The target users of every snapshot who took something, MAXIMUM_USERS at most in all."""
    users = [
        snapshot.inputs.window.target_users[snapshot.relevant[snapshot.inputs.window.target_users] > 0]
        for snapshot in snapshots
    ]
    number = np.repeat(np.arange(len(snapshots)), [len(part) for part in users])
    drawn = np.zeros(len(number), dtype=bool)
    drawn[np.random.default_rng(seed).permutation(len(number))[:MAXIMUM_USERS]] = True
    return [
        (snapshot, part[drawn[number == position]])
        for position, (snapshot, part) in enumerate(zip(snapshots, users, strict=True))
    ]


def _build_examples(snapshot: TrainingSnapshot, users: Int64Array, names: Sequence[GeneratorName]) -> _TrainingExamples:
    """The candidates of `users` as of the day of the snapshot."""
    window, settings = snapshot.inputs.window, snapshot.inputs.settings
    allowed = np.flatnonzero(in_catalogue(window, settings.catalogue_days))
    scorers = [GENERATORS[name].fit(snapshot.inputs)(window) for name in names]
    context_features = ContextFeatures.of(window, window)
    excluded = excluded_pairs(window, settings)
    parts = []
    for block in blocks_of(users, len(allowed)):
        is_open = np.ones((len(block), len(allowed)), dtype=bool)
        is_open[pairs_in_block(excluded, block, allowed, window)] = False
        pairs = candidate_pairs(
            [scorer(block)[:, allowed] * is_open for scorer in scorers],
            context_features,
            block,
            allowed,
            settings.candidates,
        )
        taken = values_at(snapshot.taken, block[pairs.rows], allowed[pairs.columns]) > 0
        people = np.array([window.sequences.users[user] for user in block], dtype=np.str_)
        parts.append(_TrainingExamples(pairs.rows, pairs.features, taken, snapshot.relevant[block], people))
    return _TrainingExamples.of(parts)


def _fit_weights(examples: _TrainingExamples, selected: BoolArray) -> Float64Array:
    """Weights [feature] of the least loss over the examples `selected`."""
    inside = selected[examples.rows]
    return _minimise_loss(examples.features[inside], examples.rows[inside], examples.taken[inside])


def _fit_scale(examples: _TrainingExamples, utility: Float32Array) -> float:
    """The factor of `utility` with the least loss, at least 1: a smaller one would rank no better."""
    return max(float(_minimise_loss(utility[:, None], examples.rows, examples.taken)[0]), 1.0)


def _minimise_loss(features: Float32Array, rows: Int64Array, taken: BoolArray) -> Float64Array:
    """Weights [feature] of the least listwise softmax loss; examples without a taken candidate are left out."""
    from scipy.optimize import minimize

    has_positive = np.bincount(rows, taken)[rows] > 0
    features, taken = features[has_positive], taken[has_positive]
    row = np.unique(rows[has_positive], return_inverse=True)[1]
    starts = np.searchsorted(row, np.arange(int(row[-1]) + 1)) if len(row) else np.zeros(0, dtype=np.int64)
    if not len(starts):
        return np.zeros(features.shape[1])
    target = (taken / np.bincount(row, taken)[row]).astype(np.float32)

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        utility = features @ weights.astype(np.float32)
        top = np.maximum.reduceat(utility, starts)
        odds = np.exp(utility - top[row])
        total = np.add.reduceat(odds, starts)
        value = (np.log(total) + top).sum(dtype=np.float64) - (target * utility).sum(dtype=np.float64)
        gradient = ((odds / total[row] - target) @ features).astype(np.float64)
        return (
            value / len(starts) + PENALTY * float(weights @ weights),
            gradient / len(starts) + 2 * PENALTY * weights,
        )

    found = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x, dtype=np.float64)
