"""Stack BG/NBD and the interest model's churn head into one probability, calibrated on recent outcomes.

A logistic regression on the logit of each and on the days away, relative to the user's own gap and as they are
(stacked generalisation: Wolpert 1992; Platt 1999). It is fitted on weekly prediction days whose `HORIZON_DAYS` days
have passed; the newest weigh most, because seasons move the base rate. Half a step is made from BG/NBD towards what the
outcomes showed: the coming weeks have another season than those known. A whole step gained on one log as much as it
lost on another, and the head is stacked only where it made the newest known weeks better (benchmarks/RESULTS.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.churn.bg_nbd import ChurnParameters, Visits, no_visit_logit

WEEKS = 8
"""Weekly prediction days whose outcomes are read."""
HALF_LIFE_WEEKS = 2.0
"""Age at which an outcome has half its weight."""
STEP = 0.5
"""Part of the way from BG/NBD to the fitted stack."""
MINIMUM_STACKED = 100
"""Known outcomes of predictions by the head, in either half of the weeks, below which it is not stacked."""
MAXIMUM_LOGIT = 12.0
"""Probabilities nearer to 0 and 1 than this count as the same."""

_BY_VISITS = np.array([0.0, 1.0, 0.0, 0.0])
_BY_BOTH = np.append(_BY_VISITS, 0.0)


@dataclass(frozen=True, slots=True)
class ChurnOutcomes:
    """Past predictions of both models, and what came of them."""

    design: Float64[Float64Array, "prediction feature"]
    churned: Bool[BoolArray, " prediction"]
    week: Float64[Float64Array, " prediction"]  # age of the prediction, from 0

    @property
    def weight(self) -> Float64Array:
        """Weight of each outcome, [prediction]."""
        return np.asarray(0.5 ** (self.week / HALF_LIFE_WEEKS))

    @property
    def by_head(self) -> BoolArray:
        """Whether the head made a prediction, [prediction]."""
        return np.isfinite(self.design[:, -1])

    def take(self, which: BoolArray) -> ChurnOutcomes:
        """Only these predictions."""
        return ChurnOutcomes(self.design[which], self.churned[which], self.week[which])


def design(
    visits: Visits, parameters: ChurnParameters, head: Float64[Float64Array, " user"]
) -> Float64[Float64Array, "user feature"]:
    """Return the features of a prediction: 1, logit by BG/NBD, relative and absolute days away, logit by the head.

    Args:
        visits: as of the prediction.
        parameters: those of BG/NBD.
        head: P(no visit) by the interest model; nan where it made no prediction, and so is the last feature.
    """
    by_visits = np.clip(no_visit_logit(visits, parameters), -MAXIMUM_LOGIT, MAXIMUM_LOGIT)
    with np.errstate(divide="ignore"):
        by_head = np.clip(np.log(head) - np.log1p(-head), -MAXIMUM_LOGIT, MAXIMUM_LOGIT)
    relative = np.log1p(visits.away / np.maximum(visits.gap, 1.0))
    return np.stack([np.ones(len(visits)), by_visits, relative, np.log1p(visits.away), by_head], axis=1)


def fit_by_visits(outcomes: ChurnOutcomes) -> Float64Array:
    """Fit the weights [feature] without the head's, on all predictions."""
    found = _logistic(outcomes.design[:, :-1], outcomes.churned, outcomes.weight, _BY_VISITS)
    return np.asarray(_BY_VISITS + STEP * (found - _BY_VISITS))


def fit_stacked(outcomes: ChurnOutcomes) -> Float64Array:
    """Fit the weights [feature] of both models, on the predictions that the head made."""
    made = outcomes.take(outcomes.by_head)
    found = _logistic(made.design, made.churned, made.weight, _BY_BOTH)
    return np.asarray(_BY_BOTH + STEP * (found - _BY_BOTH))


def head_helps(outcomes: ChurnOutcomes) -> bool:
    """Whether the head made predictions better: fitted on the older half of the weeks, scored on the newer one.

    False where either half has fewer than `MINIMUM_STACKED` of its predictions, or a tenth of that of either outcome.
    """
    newer = outcomes.week < WEEKS / 2
    halves = [outcomes.take(half & outcomes.by_head) for half in (~newer, newer)]
    enough = MINIMUM_STACKED / 10
    if any(
        len(half.churned) < MINIMUM_STACKED or not enough <= half.churned.sum() <= len(half.churned) - enough
        for half in halves
    ):
        return False
    older, test = halves
    by_visits = fit_by_visits(older)
    with_head, without = (
        np.mean((probabilities(test.design, by_visits, stacked) - test.churned) ** 2)
        for stacked in (fit_stacked(older), None)
    )
    return bool(with_head < without)


def probabilities(
    features: Float64[Float64Array, "user feature"], by_visits: Float64Array, stacked: Float64Array | None
) -> Float64[Float64Array, " user"]:
    """P(no visit) by the stack where there is one and the head made a prediction, else by the visits."""
    from scipy.special import expit

    logit = features[:, :-1] @ by_visits
    if stacked is not None:
        made = np.isfinite(features[:, -1])
        logit[made] = features[made] @ stacked
    return np.asarray(expit(logit))


def _logistic(features: Float64Array, churned: BoolArray, weight: Float64Array, target: Float64Array) -> Float64Array:
    """Weights of the logistic regression, shrunk towards `target` by the penalty |weights - target|² / 2."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        fitted, off = features @ weights, weights - target
        value = float(weight @ (np.logaddexp(0.0, fitted) - churned * fitted) + off @ off / 2)
        return value, features.T @ (weight * (expit(fitted) - churned)) + off

    return np.asarray(minimize(loss, target, jac=True, method="L-BFGS-B").x)
