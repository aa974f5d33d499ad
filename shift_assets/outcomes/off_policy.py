"""What a policy that did not make the lists would have earned, from lists whose odds are known.

Arrays run [user, place], place 0 is rank 1. The policy that logged showed the item of a place with the probability
`behaviour`, the policy that is judged would have with `target`; their ratio weighs the reward of the place. Where
several policies shared the users, `behaviour` is their mixture (`mixture`): each user's place then speaks for
every policy that might have shown the item. Estimates are rewards per place shown:

- IPS, inverse propensity scoring (Horvitz & Thompson 1952): unbiased, and wild where odds are long;
- SNIPS, divided by the weights instead (Swaminathan & Joachims 2015): calmer, a little biased in small samples;
- DR, doubly robust (Dudík, Langford & Li 2011, arXiv 1103.4601): a model's reward, corrected by the weighted rest.
  The model is trusted as far as it calms: the part beta of it, 0..1, that leaves least variance (a control variate,
  Hesterberg 1995), so that a poor model does not do worse than none.

Users are the unit of the bootstrap, since a user's places share a user. Two things give no estimate but a sentence:

- too few users in effect (Kish 1965): intervals are too narrow there (with 30 users 90 % of them hold the truth
  instead of 95 %, from 100 on 92 to 96 %: `benchmarks/policies.py`);
- lists that could not show what the judged policy would have shown: the weights then do not average 1, and no
  estimate is near the truth however many users there are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shift_assets.arrays import Float64Array
from shift_assets.outcomes.estimates import Estimate, ratio_estimate

SUPPORT = 0.98
"""Mean weight that must be possible within `SUPPORT_ERRORS` standard errors; 1 where everything could be shown."""
SUPPORT_ERRORS = 3.0


class LoggedFeedback(NamedTuple):
    """What was shown and what it earned, [user, place]; places without an item have reward 0 and target 0.

    `expected` is the reward that a model, fitted before the lists were made, foretells of the item shown;
    `expected_of_target` the same, summed over the items of the place by the odds of the judged policy.
    """

    rewards: Float64Array
    behaviour: Float64Array
    target: Float64Array
    shown: npt.NDArray[np.bool_]
    expected: Float64Array
    expected_of_target: Float64Array


class OffPolicyEstimates(NamedTuple):
    """Estimates of the reward per place, or the sentence that says why there are none."""

    ips: Estimate | None
    snips: Estimate | None
    dr: Estimate | None
    effective_users: float
    note: str | None


def off_policy(
    logged: LoggedFeedback, minimum_effective_users: float, draws: npt.NDArray[np.int64]
) -> OffPolicyEstimates:
    """The value of the target policy; `draws[sample, user]` are the bootstrap's (`ranking.resamples`).

    Raises ValueError for a propensity that is not in (0, 1] where something was shown.
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
    """Why there is no estimate, of the summed weights [user] and the places [user]; None where there is one."""
    if effective < minimum_effective_users:
        return f"in effect {effective:.0f} users, fewer than the {minimum_effective_users:g} that an estimate needs"
    mean = own.sum() / positions.sum()
    error = np.sqrt(((own - mean * positions) ** 2).sum()) / positions.sum()
    if mean + SUPPORT_ERRORS * error < SUPPORT:
        return f"the lists could show {mean:.0%} of what the policy would have shown; the rest is not known"
    return None


def importance_weights(logged: LoggedFeedback) -> Float64Array:
    """target / behaviour [user, place], 0 where nothing was shown.

    Raises ValueError for a propensity that is not in (0, 1] where something was shown.
    """
    propensities = logged.behaviour[logged.shown]
    if not ((propensities > 0) & (propensities <= 1)).all():
        raise ValueError("a propensity is not in (0, 1]: what was shown had a positive probability of being shown")
    return np.where(logged.shown, logged.target / np.where(logged.shown, logged.behaviour, 1.0), 0.0)


def doubly_robust(logged: LoggedFeedback) -> Float64Array:
    """Doubly robust reward [user], summed over places: weighted reward - beta (weighted model - the target's model)."""
    weights = importance_weights(logged)
    earned = (weights * logged.rewards).sum(axis=1)
    # Zero on average whatever the model foretells, since the odds are known.
    control = np.where(logged.shown, weights * logged.expected - logged.expected_of_target, 0.0).sum(axis=1)
    spread = float(((control - control.mean()) ** 2).sum())
    together = float(((control - control.mean()) * (earned - earned.mean())).sum())
    beta = min(max(together / spread, 0.0), 1.0) if spread > 0 else 1.0
    return np.asarray(earned - beta * control)


def effective_users(weights: Float64Array) -> float:
    """Kish's effective number of users of weights [user, place]: (sum of w)² / sum of w², w summed per user."""
    own = weights.sum(axis=1)
    square = float((own**2).sum())
    return float(own.sum()) ** 2 / square if square else 0.0


def mixture(assignment: Float64Array, shown_by: Float64Array) -> Float64Array:
    """Probability [user, place] that the logged item stood there, whoever made the list.

    `assignment[user, arm]` is the probability of the user's arm before the dealing (`policies.assignment`),
    `shown_by[user, arm, place]` that with which each arm would have shown the logged item at the place: 0 or 1 for
    an arm without lot. Dividing by the mixture instead of the one arm's probability lets all users speak for every
    arm (multiple importance sampling, Veach & Guibas 1995; Agarwal et al. 2017, arXiv 1703.06180).
    """
    return np.asarray(np.einsum("ua,uap->up", assignment, shown_by))
