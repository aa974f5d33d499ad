"""BG/NBD model of visit days: the probability that a user does not come back within four weeks.

Fader, Hardie & Lee, "Counting Your Customers the Easy Way", Marketing Science 24 (2005): a user visits at a rate of
their own, gamma distributed over users, and after each visit leaves for good with a probability of their own, beta
distributed. All formulas stay in logarithms, so that nothing overflows for users with hundreds of visits.

Churn is "no visit in the following `HORIZON_DAYS` days": that can be checked, "has left for good" cannot. Days are
calendar days; counting only days on which the shop was open changed no Brier score by more than .001
(benchmarks/RESULTS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.contracts.day import day_number

HORIZON_DAYS = 28
"""Whole weeks, so that every weekday counts the same; a longer horizon would delay the check of a prediction."""
LOG_BOUNDS = (-8.0, 8.0)
"""Bounds of the logarithms of the parameters: where nobody ever leaves, their likelihood has no maximum."""

_START = (1.0, 30.0, 1.0, 3.0)


@dataclass(frozen=True, slots=True)
class Visits:
    """Sufficient statistics of BG/NBD; a user's time starts with the first visit."""

    frequency: Float64[Float64Array, " user"]  # visit days after the first
    recency: Float64[Float64Array, " user"]  # days from the first visit to the last
    age: Float64[Float64Array, " user"]  # days from the first visit to the day of observation

    def __len__(self) -> int:
        return len(self.frequency)

    def take(self, users: Int64Array | BoolArray) -> Visits:
        """Only these users."""
        return Visits(self.frequency[users], self.recency[users], self.age[users])

    @property
    def away(self) -> Float64Array:
        """Days since the last visit, [user]."""
        return self.age - self.recency

    @property
    def gap(self) -> Float64Array:
        """Mean gap between visits, days, [user]; `HORIZON_DAYS` after a single visit."""
        return np.where(self.frequency > 0, self.recency / np.maximum(self.frequency, 1), HORIZON_DAYS)

    def before(self, days: Float64Array | float) -> Visits:
        """The same visits observed so many days earlier, at the last visit at the earliest."""
        return Visits(self.frequency, self.recency, np.maximum(self.age - days, self.recency))


@dataclass(frozen=True, slots=True)
class ChurnParameters:
    """BG/NBD parameters of a segment."""

    r: float  # shape of the visit rates
    alpha: float  # their scale, days
    a: float  # probabilities of leaving after a visit are Beta(a, b)
    b: float


def visits_from_state(state: pa.Table, day: date) -> Visits:
    """Visits of every row of `interest_state` as of the end of `day`, from its gap statistics."""
    last_active = np.asarray(state["last_active_day"].cast(pa.int32()).to_numpy(), dtype=np.float64)
    count = state["gap_count"].to_numpy().astype(np.float64)
    recency = np.rint(count * pc.fill_null(state["gap_mean_days"], 0.0).to_numpy())  # whole days up to rounding
    return Visits(count, recency, recency + day_number(day) - last_active)


def dropout_log_odds(visits: Visits, parameters: ChurnParameters) -> Float64[Float64Array, " user"]:
    """log P(left) / P(alive) given the visits; minus infinity after a single visit.

    BG/NBD lets users leave only after a visit that was not their first.
    """
    x = visits.frequency
    silence = np.log(parameters.alpha + visits.age) - np.log(parameters.alpha + visits.recency)
    odds = np.log(parameters.a) - np.log(parameters.b + np.maximum(x, 1) - 1) + (parameters.r + x) * silence
    return np.where(x > 0, odds, -np.inf)


def no_visit_logit(visits: Visits, parameters: ChurnParameters) -> Float64[Float64Array, " user"]:
    """Logit of P(no visit in the next `HORIZON_DAYS` days) by the visits alone.

    A user who is alive stays away with probability ((alpha + age) / (alpha + age + horizon)) ** (r + frequency): the
    rate is integrated out over its gamma posterior.
    """
    age = parameters.alpha + visits.age
    log_away = (parameters.r + visits.frequency) * (np.log(age) - np.log(age + HORIZON_DAYS))
    left = dropout_log_odds(visits, parameters)
    log_alive = -np.logaddexp(0.0, left)
    log_stays_away = np.logaddexp(-np.logaddexp(0.0, -left), log_alive + log_away)
    return np.asarray(log_stays_away - log_alive - np.log(-np.expm1(log_away)))


def maximum_likelihood(visits: Visits) -> ChurnParameters:
    """Fit BG/NBD by L-BFGS-B on the parameters' logarithms with the exact gradient."""
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
