"""Bandits: the share of users that each arm gets, learned from the outcomes of the days before.

A cell is a segment and a kind of shift (`no_shift` for users without an alert). For each cell and arm,
`recommendation_outcomes` counts the users with recommendations and those of them with a success. Two learners:

- Thompson sampling (Thompson 1933; Chapelle & Li 2011): the reward of an arm in a cell is Beta distributed around
  what was observed; an arm's share is its probability of being the best there. The prior is the arm's rate for the
  same kind of shift in all segments, itself shrunk to its rate everywhere.
- LinUCB with one linear model per arm (Li et al. 2010, arXiv 1003.0146) on indicators of segment and kind, so that a
  cell without users borrows from its row and its column; outcomes are discounted as in D-LinUCB (Russac et al. 2019,
  arXiv 1909.09146). The arm of the highest upper bound gets the whole share.

Both discount by a half-life, since the best arm changes; both are clipped to the bounds of the settings, so that every
arm has a known, positive probability that off-policy estimates can divide by. A user gets recommendations every day,
and an event lies in the horizon of several days: a row counts for users / horizon_days.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from scipy.special import betainc, betaincinv

from shift_assets.arrays import Float64Array
from shift_assets.contracts.shift import NO_SHIFT
from shift_assets.experiments.assignment import EXPLORING, Arm, Assignment, assign
from shift_assets.settings.root import ExperimentSettings
from shift_assets.shift.alerts.ranked_alerts import open_by_magnitude

PRIOR_USERS = 50.0
"""Weight, in a cell, of the arm's rate for the kind of shift in all segments, in users. In the simulated shop 50 earn a
little more than 10, most after shifts, and both more than a prior that ignores the kind (RESULTS.md)."""
KIND_PRIOR_USERS = 10.0
"""Weight, in that rate, of the arm's rate everywhere."""
RIDGE = 1.0
"""Weight of LinUCB's prior of no effect, in users."""
UPPER_BOUND_WIDTH = 1.0
"""Standard errors that LinUCB adds; a reward of 0 or 1 has a standard deviation of a half, so these are two."""
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(128)


class Cell(NamedTuple):
    """Users that share the shares of the arms."""

    segment: str
    shift_kind: str


class Evidence(NamedTuple):
    """Discounted outcomes of cells and arms.

    Attributes:
        cells: Segments and kinds of shift.
        arms: Names of the arms.
        users: Discounted users with recommendations, [cell, arm].
        successes: Those of them with the reward, [cell, arm].
        squared: Users by the square of the discount, for the confidence of D-LinUCB, [cell, arm].
    """

    cells: tuple[Cell, ...]
    arms: tuple[str, ...]
    users: Float64[Float64Array, "cell arm"]
    successes: Float64[Float64Array, "cell arm"]
    squared: Float64[Float64Array, "cell arm"]


def assign_arms(
    users: Sequence[str], segment: str, day: date, *, alerts: pa.Table, outcomes: pa.Table, settings: ExperimentSettings
) -> Assignment:
    """Assign the users of a segment to arms on `day`, by the shares of the user's kind of shift.

    Args:
        users: Pseudonyms.
        segment: Their segment.
        day: Day of the recommendations.
        alerts: Rows of `shift_alerts` of the day.
        outcomes: Rows of `recommendation_outcomes` of all segments that learn from each other; those of `day` and
            later are ignored.
        settings: The experiment.
    """
    kinds = open_shift_kinds(alerts)
    cells = [Cell(segment, kinds.get(user, NO_SHIFT)) for user in users]
    shares = arm_shares(outcomes, day, sorted(set(cells)), settings)
    return assign(users, settings.name, [shares[cell] for cell in cells])


def open_shift_kinds(alerts: pa.Table) -> dict[str, str]:
    """By user the kind of the open alert; of several that of the largest magnitude."""
    rows = open_by_magnitude(alerts)
    return dict(zip(rows["user_id"].to_pylist(), rows["kind"].to_pylist(), strict=True))


def arm_shares(
    outcomes: pa.Table, day: date, cells: Sequence[Cell], settings: ExperimentSettings
) -> dict[Cell, dict[str, float]]:
    """The share of every arm of the settings in each of `cells` on `day`; they sum to 1.

    Args:
        outcomes: Rows of `recommendation_outcomes`; those of `day` and later, and of arms that the settings do not
            name, are ignored.
        day: Day of the assignment.
        cells: Cells to compute shares for.
        settings: The experiment; with `learning: fixed` its shares are returned.
    """
    if settings.learning == "fixed":
        return {cell: dict(settings.shares) for cell in cells}
    evidence = gather_evidence(outcomes, day, cells, settings)
    learned = thompson(evidence) if settings.learning == "thompson" else linear_ucb(evidence)
    clipped = bounded(learned, evidence.arms, settings.minimum_share, settings.maximum_exploring_share)
    row = {cell: position for position, cell in enumerate(evidence.cells)}
    return {cell: dict(zip(evidence.arms, clipped[row[cell]].tolist(), strict=True)) for cell in cells}


def gather_evidence(outcomes: pa.Table, day: date, cells: Sequence[Cell], settings: ExperimentSettings) -> Evidence:
    """Outcomes before `day` of the arms of the settings, in `cells` and all other cells that occur."""
    arms = tuple(sorted(settings.shares))
    rows = [
        (Cell(row["segment"], part["shift_kind"]), row, part)
        for row in outcomes.select(["day", "segment", "policy", "horizon_days", "by_shift_kind"]).to_pylist()
        if row["day"] < day and row["policy"] in arms
        for part in row["by_shift_kind"]
    ]
    seen_cells = tuple(sorted({*cells, *(cell for cell, _, _ in rows)}))
    position, column = {cell: at for at, cell in enumerate(seen_cells)}, {arm: at for at, arm in enumerate(arms)}
    users, successes, squared = (np.zeros((len(seen_cells), len(arms))) for _ in range(3))
    for cell, row, part in sorted(rows, key=lambda found: (found[1]["day"], found[0], found[1]["policy"])):
        at = position[cell], column[row["policy"]]
        discount = 0.5 ** (((day - row["day"]).days - 1) / settings.half_life_days)
        users[at] += discount * part["users"] / row["horizon_days"]
        successes[at] += discount * part[settings.reward] / row["horizon_days"]
        squared[at] += discount**2 * part["users"] / row["horizon_days"]
    return Evidence(seen_cells, arms, users, successes, squared)


def thompson(evidence: Evidence) -> Float64[Float64Array, "cell arm"]:
    """Probability [cell, arm] that the arm is the best of its cell under the posterior."""
    everywhere = (evidence.successes.sum(axis=0) + 1) / (evidence.users.sum(axis=0) + 2)
    kinds = np.array([cell.shift_kind for cell in evidence.cells])
    same_kind = (kinds[:, None] == kinds).astype(np.float64)  # [cell, cell]
    rate = (same_kind @ evidence.successes + KIND_PRIOR_USERS * everywhere) / (
        same_kind @ evidence.users + KIND_PRIOR_USERS
    )
    successes = evidence.successes + PRIOR_USERS * rate
    failures = evidence.users - evidence.successes + PRIOR_USERS * (1 - rate)
    return np.array([probability_of_best(a, b) for a, b in zip(successes, failures, strict=True)]).reshape(
        successes.shape
    )


def probability_of_best(
    successes: Float64[Float64Array, " arm"], failures: Float64[Float64Array, " arm"]
) -> Float64[Float64Array, " arm"]:
    """Probability [arm] that Beta(successes, failures) is the largest of the independent arms.

    It is the integral of the product of the others' distribution functions over the arm's own distribution, by
    Gauss-Legendre quadrature over its quantiles; scaled to sum to 1, which removes the quadrature's error.

    Example:
        >>> probability_of_best(np.array([5.0, 5.0]), np.array([2.0, 2.0])).round(6).tolist()
        [0.5, 0.5]
    """
    quantiles = betaincinv(successes[:, None], failures[:, None], (_NODES + 1) / 2)  # [arm, node]
    below = betainc(successes[:, None, None], failures[:, None, None], quantiles)  # [other, arm, node]
    below[np.arange(len(successes)), np.arange(len(successes))] = 1.0
    best = np.asarray(below.prod(axis=0) @ _NODE_WEIGHTS / 2)
    return np.asarray(best / best.sum())


def linear_ucb(evidence: Evidence) -> Float64[Float64Array, "cell arm"]:
    """1 [cell, arm] for the arm of the highest upper bound in its cell, split between ties; else 0."""
    contexts = _contexts(evidence.cells)
    bounds = np.empty(evidence.users.shape)
    for arm in range(len(evidence.arms)):
        information = _weighted(contexts, evidence.users[:, arm])
        inverse = np.linalg.inv(information)
        estimate = inverse @ (contexts.T @ evidence.successes[:, arm])
        spread = inverse @ _weighted(contexts, evidence.squared[:, arm]) @ inverse
        variance = np.einsum("cf,fg,cg->c", contexts, spread, contexts)
        bounds[:, arm] = contexts @ estimate + UPPER_BOUND_WIDTH * np.sqrt(variance)
    best = np.isclose(bounds, bounds.max(axis=1, keepdims=True), rtol=0, atol=1e-12)
    return np.asarray(best / best.sum(axis=1, keepdims=True))


def bounded(
    shares: Float64[Float64Array, "cell arm"], arms: Sequence[str], minimum_share: float, maximum_exploring_share: float
) -> Float64[Float64Array, "cell arm"]:
    """Clip shares to the bounds of the settings.

    Args:
        shares: Shares that sum to 1, [cell, arm].
        arms: Names of the arms.
        minimum_share: Share of every arm, at least.
        maximum_exploring_share: Share of the exploring arm, at most.

    Raises:
        ValueError: The minimums sum to more than 1, or the minimum is above the maximum of exploring.
    """
    if minimum_share * len(arms) > 1 + 1e-9:
        raise ValueError(f"minimum share {minimum_share} of {len(arms)} arms is more than everybody")
    clipped = minimum_share + (1 - minimum_share * len(arms)) * shares
    exploring = [position for position, arm in enumerate(arms) if Arm.of(arm).policy == EXPLORING]
    if exploring and minimum_share > maximum_exploring_share:
        raise ValueError(f"minimum share {minimum_share} lies above the maximum {maximum_exploring_share} of exploring")
    for position in exploring:
        capped = np.minimum(clipped[:, position], maximum_exploring_share)
        others = np.delete(clipped, position, axis=1)
        total = others.sum(axis=1, keepdims=True)
        parts = np.divide(others, total, out=np.full_like(others, 1 / max(others.shape[1], 1)), where=total > 0)
        others += (clipped[:, position] - capped)[:, None] * parts
        clipped = np.insert(others, position, capped, axis=1)
    return clipped


def _contexts(cells: Sequence[Cell]) -> Float64Array:
    """Features [cell, feature]: an intercept, and an indicator per segment and per kind of shift."""
    segments, kinds = sorted({cell.segment for cell in cells}), sorted({cell.shift_kind for cell in cells})
    return np.array(
        [
            [1.0, *(cell.segment == one for one in segments), *(cell.shift_kind == one for one in kinds)]
            for cell in cells
        ],
        dtype=np.float64,
    )


def _weighted(contexts: Float64Array, weights: Float64Array) -> Float64Array:
    """RIDGE · I + the sum of weights[cell] x xᵀ, [feature, feature]."""
    return np.asarray(RIDGE * np.eye(contexts.shape[1]) + contexts.T @ (weights[:, None] * contexts))
