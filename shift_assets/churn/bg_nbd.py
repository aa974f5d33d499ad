"""Whether a user will come back: BG/NBD on visit days, set right by what the last four weeks brought.

BG/NBD (Fader, Hardie & Lee 2005): a user comes at a rate of their own, gamma distributed over users, and after each
visit leaves for good with a probability of their own, beta distributed. All formulas stay in logarithms, so that
nothing overflows for users with hundreds of visits. Churn is "no visit in the following `HORIZON_DAYS` days": that
can be checked, "has left for good" cannot. Days are calendar days: days of the shop (those with a normal activity)
in their place changed no Brier score by more than .001 (benchmarks/RESULTS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.contracts.day import day_number
from shift_assets.settings.root import ChurnSettings

HORIZON_DAYS = 28
"""Every weekday as often, and a prediction need not wait longer for its answer."""


MINIMUM_USERS = 30
"""Below so many users, or users who came again, there is nothing to fit."""


LOG_BOUNDS = (-8.0, 8.0)
"""Of the parameters: where nobody ever leaves, their likelihood has no maximum."""


CALIBRATION_STEP = 0.5
"""Part of the way to the last window's calibration: the next window has another season. On Online Retail II and the
simulated log a whole step gained or lost, half a step lost less than it gained."""


_START = (1.0, 30.0, 1.0, 3.0)


@dataclass(frozen=True, slots=True)
class Visits:
    """What BG/NBD needs of every user; the first visit is where a user's clock starts."""

    frequency: Float64Array  # [user], visit days after the first
    recency: Float64Array  # [user], days from the first visit to the last
    age: Float64Array  # [user], days from the first visit to the day of the look

    def __len__(self) -> int:
        return len(self.frequency)

    def take(self, users: Int64Array | BoolArray) -> Visits:
        """Only these users."""
        return Visits(self.frequency[users], self.recency[users], self.age[users])


@dataclass(frozen=True, slots=True)
class ChurnParameters:
    """A segment's BG/NBD, and its calibration."""

    r: float  # shape of the visit rates
    alpha: float  # their scale, days
    a: float  # probabilities of leaving after a visit are Beta(a, b)
    b: float
    intercept: float = 0.0  # calibration, on the logit of the model's probability
    slope: float = 1.0


def visits_from_state(state: pa.Table, day: date) -> Visits:
    """The visits that the gap statistics of `interest_state` tell of, seen from the end of `day`, [row of `state`]."""
    count = state["gap_count"].to_numpy().astype(np.float64)
    recency = np.rint(count * pc.fill_null(state["gap_mean_days"], 0.0).to_numpy())  # whole days, but for rounding
    return Visits(count, recency, recency + day_number(day) - _last_active(state))


def dropout_log_odds(visits: Visits, parameters: ChurnParameters) -> Float64Array:
    """log P(left) / P(alive) given the visits, [user]; minus infinity after a single visit.

    BG/NBD lets users leave only after a visit that was not their first.
    """
    x = visits.frequency
    silence = np.log(parameters.alpha + visits.age) - np.log(parameters.alpha + visits.recency)
    odds = np.log(parameters.a) - np.log(parameters.b + np.maximum(x, 1) - 1) + (parameters.r + x) * silence
    return np.where(x > 0, odds, -np.inf)


def probability_alive(visits: Visits, parameters: ChurnParameters) -> Float64Array:
    """P(alive), [user]: that the user has not left for good (Fader, Hardie & Lee 2005; uncalibrated)."""
    from scipy.special import expit

    return np.asarray(expit(-dropout_log_odds(visits, parameters)))


def no_visit_logit(visits: Visits, parameters: ChurnParameters) -> Float64Array:
    """Logit of P(no visit in the next `HORIZON_DAYS` days), [user], before calibration.

    An alive user stays away with probability ((alpha + age) / (alpha + age + horizon)) ** (r + frequency), the gamma
    posterior of the rate integrated out.
    """
    age = parameters.alpha + visits.age
    log_away = (parameters.r + visits.frequency) * (np.log(age) - np.log(age + HORIZON_DAYS))
    left = dropout_log_odds(visits, parameters)
    log_alive = -np.logaddexp(0.0, left)
    log_stays_away = np.logaddexp(-np.logaddexp(0.0, -left), log_alive + log_away)
    return np.asarray(log_stays_away - log_alive - np.log(-np.expm1(log_away)))


def churn_probabilities(state: pa.Table, parameters: ChurnParameters, day: date) -> Float64Array:
    """P(no visit in the `HORIZON_DAYS` days after `day`), [row of `state`].

    state: any columns of `interest_state` with `last_active_day`, `gap_count` and `gap_mean_days`, as of the end of
    `day`. A million rows take about a tenth of a second.
    """
    from scipy.special import expit

    logit = no_visit_logit(visits_from_state(state, day), parameters)
    return np.asarray(expit(parameters.intercept + parameters.slope * logit))


def fit_churn(state: pa.Table, day: date, settings: ChurnSettings) -> ChurnParameters | None:
    """The segment's parameters from `interest_state` as of the end of `day` alone; None where it holds too little.

    BG/NBD by maximum likelihood on the first `settings.fit_users` users (pseudonyms are keyed digests: a random
    sample). Then the calibration (Platt 1999): what the fitted model would have said `HORIZON_DAYS` days before,
    against who has come since. Deterministic.
    """
    sample = state.sort_by("user_id").slice(0, settings.fit_users)
    visits = visits_from_state(sample, day)
    if min(len(visits), int((visits.frequency > 0).sum())) < MINIMUM_USERS:
        return None
    parameters = maximum_likelihood(visits)
    before, came = _visits_at_horizon(sample, day)
    if len(before) < MINIMUM_USERS:
        return parameters
    intercept, slope = _platt_scaling(no_visit_logit(before, parameters), ~came)
    return ChurnParameters(
        parameters.r,
        parameters.alpha,
        parameters.a,
        parameters.b,
        CALIBRATION_STEP * intercept,
        1 + CALIBRATION_STEP * (slope - 1),
    )


def maximum_likelihood(visits: Visits) -> ChurnParameters:
    """BG/NBD parameters, uncalibrated, by L-BFGS-B on their logarithms with the exact gradient."""
    from scipy.optimize import minimize
    from scipy.special import digamma, gammaln

    x, recency, age = visits.frequency, visits.recency, visits.age
    again = x > 0

    def loss(logs: Float64Array) -> tuple[float, Float64Array]:
        r, alpha, a, b = np.exp(logs)
        alive = -(r + x) * np.log(alpha + age)
        left = np.where(
            again, np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + recency), -np.inf
        )
        either = np.logaddexp(alive, left)
        p_alive, p_left = np.exp(alive - either), np.exp(left - either)
        likelihood = (
            gammaln(r + x) - gammaln(r) + r * np.log(alpha)
            + gammaln(a + b) - gammaln(b) + gammaln(b + x) - gammaln(a + b + x)
            + either
        )  # fmt: skip
        leaving = digamma(a + b) - digamma(a + b + x)
        gradient = (
            digamma(r + x) - digamma(r) + np.log(alpha)
            - p_alive * np.log(alpha + age) - p_left * np.log(alpha + recency),
            r / alpha - (r + x) * (p_alive / (alpha + age) + p_left / (alpha + recency)),
            leaving + p_left / a,
            leaving - digamma(b) + digamma(b + x) - p_left / (b + np.maximum(x, 1) - 1),
        )  # fmt: skip
        return -float(likelihood.mean()), -np.array([part.mean() for part in gradient]) * np.exp(logs)

    found = minimize(loss, np.log(_START), jac=True, method="L-BFGS-B", bounds=[LOG_BOUNDS] * len(_START))
    return ChurnParameters(*(float(value) for value in np.exp(found.x)))


def _visits_at_horizon(state: pa.Table, day: date) -> tuple[Visits, BoolArray]:
    """The users' visits as they stood `HORIZON_DAYS` before `day`, and whether they have come since, [user].

    Users who first came since are left out. Of a user who has come on every day that the ring holds, the visit
    before those is not known: it is taken to lie on the day of the look.
    """
    recent = state["recent_days"].combine_chunks()
    recent_day = recent.flatten().field("day").cast(pa.int32()).to_numpy().astype(np.int64)
    n_days = pc.list_value_length(recent).to_numpy().astype(np.int64)
    end = np.cumsum(n_days)
    as_of = day_number(day) - HORIZON_DAYS
    now = visits_from_state(state, day)
    first = day_number(day) - now.age
    since = np.bincount(np.repeat(np.arange(len(state)), n_days)[recent_day > as_of], minlength=len(state))
    older = np.full(len(state), as_of, dtype=np.float64)
    has_older = np.flatnonzero(since < n_days)
    older[has_older] = recent_day[(end - 1 - since)[has_older]]
    before = Visits(np.maximum(now.frequency - since, 0.0), older - first, as_of - first)
    known = first <= as_of
    return before.take(known), since[known] > 0


def _platt_scaling(logit: Float64Array, churned: BoolArray) -> tuple[float, float]:
    """Intercept and slope of the logistic regression of `churned` on `logit`, drawn to (0, 1) as by one more user."""
    from scipy.optimize import minimize
    from scipy.special import expit

    design = np.stack([np.ones_like(logit), logit], axis=1)
    identity = np.array([0.0, 1.0])

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        fitted, off = design @ weights, weights - identity
        value = float(np.sum(np.logaddexp(0.0, fitted) - churned * fitted) + off @ off / 2)
        return value, design.T @ (expit(fitted) - churned) + off

    found = minimize(loss, identity, jac=True, method="L-BFGS-B")
    return float(found.x[0]), float(found.x[1])


def refit_day(day: date, weekday: int) -> date:
    """The last `weekday` (0: Monday) before `day`: the warnings of `day` are fitted on the state of its end."""
    return day - timedelta(days=(day.weekday() - weekday - 1) % 7 + 1)


def _last_active(state: pa.Table) -> Float64Array:
    return np.asarray(state["last_active_day"].cast(pa.int32()).to_numpy(), dtype=np.float64)
