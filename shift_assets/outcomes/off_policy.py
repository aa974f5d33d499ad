"""Off-policy evaluation: the reward a target policy would have had, from logged slates with known propensities.

Arrays are [user, rank], index 0 being rank 1. The logging policy showed the item of a rank with probability
`behaviour`, and the target policy would have shown it with probability `target`; their ratio weighs the reward of the
rank. Where several policies shared the users, `behaviour` is their mixture (`mixture`), so that each user contributes
to every policy that might have shown the item. Estimates are rewards per shown item:

- IPS, inverse propensity scoring (Horvitz & Thompson 1952): unbiased, with high variance for small propensities;
- SNIPS, self-normalised by the weights (Swaminathan & Joachims 2015): lower variance, slightly biased in small samples;
- DR, doubly robust (Dudík, Langford & Li 2011, arXiv 1103.4601): a reward model, corrected by the weighted residuals.
  The model is weighed by the factor beta in 0..1 that minimises the variance (a control variate, Hesterberg 1995), so
  that a poor model is not worse than none.

The bootstrap resamples users, because ranks of one user are dependent. In two cases there is a note and no estimate:

- too few effective users (Kish 1965), where intervals are too narrow (with 30 users they cover the truth in 90 % of the
  cases instead of 95 %, with 100 and more in 92 to 96 %: `benchmarks/policies.py`);
- slates that could not show what the target policy would have shown: the weights then do not average 1, and no number
  of users makes an estimate consistent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.outcomes.estimates import Estimate, ratio_estimate

SUPPORT = 0.98
"""Mean weight that has to lie within `SUPPORT_ERRORS` standard errors; its expectation is 1 with full support."""
SUPPORT_ERRORS = 3.0


class LoggedFeedback(NamedTuple):
    """Logged slates and their rewards, [user, rank]; ranks without an item have reward 0 and target 0.

    Attributes:
        rewards: Reward of the shown item.
        behaviour: Probability with which the logging policy showed the item.
        target: Probability with which the target policy would have shown it.
        shown: Whether the rank holds an item.
        expected: Reward of the shown item predicted by a model that was fitted before the slates were made.
        expected_of_target: Predicted reward of the rank under the target policy.
    """

    rewards: Float64[Float64Array, "user rank"]
    behaviour: Float64[Float64Array, "user rank"]
    target: Float64[Float64Array, "user rank"]
    shown: Bool[BoolArray, "user rank"]
    expected: Float64[Float64Array, "user rank"]
    expected_of_target: Float64[Float64Array, "user rank"]


class OffPolicyEstimates(NamedTuple):
    """Estimates of the reward per shown item, or a note that says why there are none."""

    ips: Estimate | None
    snips: Estimate | None
    dr: Estimate | None
    effective_users: float
    note: str | None


def off_policy(
    logged: LoggedFeedback, minimum_effective_users: float, draws: Int64[Int64Array, "sample user"]
) -> OffPolicyEstimates:
    """Estimate the value of the target policy.

    Args:
        logged: Logged slates and rewards.
        minimum_effective_users: Effective number of users below which there is no estimate.
        draws: How often [sample, user] a user is drawn, from `estimates.resamples`.

    Raises:
        ValueError: A propensity of a shown item is not in (0, 1].
    """
    weights = importance_weights(logged)
    positions = logged.shown.sum(axis=1).astype(np.float64)
    effective = effective_users(weights)
    note = _refusal(weights.sum(axis=1), positions, effective, minimum_effective_users)
    if note is not None:
        return OffPolicyEstimates(None, None, None, effective, note)
    earned = (weights * logged.rewards).sum(axis=1)
    return OffPolicyEstimates(
        ratio_estimate(earned, positions, draws),
        ratio_estimate(earned, weights.sum(axis=1), draws),
        ratio_estimate(doubly_robust(logged), positions, draws),
        effective,
        None,
    )


def _refusal(
    own: Float64Array, positions: Float64Array, effective: float, minimum_effective_users: float
) -> str | None:
    """Why there is no estimate, from summed weights [user] and numbers of shown items [user]; None if there is one."""
    if effective < minimum_effective_users:
        return f"in effect {effective:.0f} users, fewer than the {minimum_effective_users:g} that an estimate needs"
    mean = own.sum() / positions.sum()
    error = np.sqrt(((own - mean * positions) ** 2).sum()) / positions.sum()
    if mean + SUPPORT_ERRORS * error < SUPPORT:
        return f"the lists could show {mean:.0%} of what the policy would have shown; the rest is not known"
    return None


def importance_weights(logged: LoggedFeedback) -> Float64[Float64Array, "user rank"]:
    """Importance weights target / behaviour [user, rank], 0 where nothing was shown.

    Raises:
        ValueError: A propensity of a shown item is not in (0, 1].
    """
    propensities = logged.behaviour[logged.shown]
    if not ((propensities > 0) & (propensities <= 1)).all():
        raise ValueError("a propensity of a shown item is not in (0, 1]")
    return np.where(logged.shown, logged.target / np.where(logged.shown, logged.behaviour, 1.0), 0.0)


def doubly_robust(logged: LoggedFeedback) -> Float64[Float64Array, " user"]:
    """Doubly robust reward [user], summed over ranks: weighted reward - beta (weighted model - model of the target)."""
    weights = importance_weights(logged)
    earned = (weights * logged.rewards).sum(axis=1)
    # Its expectation is 0 for any model, because the propensities are known.
    control = np.where(logged.shown, weights * logged.expected - logged.expected_of_target, 0.0).sum(axis=1)
    spread = float(((control - control.mean()) ** 2).sum())
    together = float(((control - control.mean()) * (earned - earned.mean())).sum())
    beta = min(max(together / spread, 0.0), 1.0) if spread > 0 else 1.0
    return np.asarray(earned - beta * control)


def effective_users(weights: Float64Array) -> float:
    """Kish's effective number of users of weights [user, rank]: (sum of w)² / sum of w², with w summed per user.

    >>> effective_users(np.array([[1.0], [1.0], [1.0]]))
    3.0
    """
    own = weights.sum(axis=1)
    square = float((own**2).sum())
    return float(own.sum()) ** 2 / square if square else 0.0


def mixture(
    assignment: Float64[Float64Array, "user arm"], shown_by: Float64[Float64Array, "user arm rank"]
) -> Float64[Float64Array, "user rank"]:
    """Probability [user, rank] that the logged item was shown there, over all arms.

    Dividing by the mixture instead of the probability of the assigned arm lets all users contribute to every arm
    (multiple importance sampling, Veach & Guibas 1995; Agarwal et al. 2017, arXiv 1703.06180).

    Args:
        assignment: Probability [user, arm] of an assignment to the arm (`experiments.assignment`).
        shown_by: Probability [user, arm, rank] with which the arm would have shown the logged item; 0 or 1 for an arm
            without exploration.
    """
    return np.asarray(np.einsum("ua,uap->up", assignment, shown_by))
