"""Fit calibrated churn probabilities, and report how well the predictions of four weeks ago were calibrated."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64

from shift_assets.arrays import BoolArray, Float64Array, list_lengths, list_values
from shift_assets.churn.bg_nbd import (
    HORIZON_DAYS,
    ChurnParameters,
    Visits,
    churn_probabilities,
    maximum_likelihood,
    no_visit_logit,
    visits_from_state,
)
from shift_assets.contracts.day import day_number
from shift_assets.contracts.outcomes import CHURN_CALIBRATION

FIT_USERS = 2_000
"""Users of a segment that its parameters are fitted on."""
MINIMUM_USERS = 30
"""Users, and users with more than one visit, below which nothing is fitted."""
CALIBRATION_STEP = 0.5
"""Part of the way to the last window's calibration: the next window has another season. On Online Retail II and the
simulated log a whole step gained or lost, half a step lost less than it gained."""
BINS = 10
CONFIDENCE = 0.95
NORMAL_95 = 1.959963984540054

_log = logging.getLogger(__name__)


def refit_day(day: date, weekday: int) -> date:
    """Return the last `weekday` (0: Monday) before `day`: the state of its end fits the warnings of `day`.

    >>> refit_day(date(2025, 6, 2), weekday=0)
    datetime.date(2025, 5, 26)
    """
    return day - timedelta(days=(day.weekday() - weekday - 1) % 7 + 1)


def fit_churn(state: pa.Table, day: date) -> ChurnParameters | None:
    """Fit the segment's calibrated BG/NBD; deterministic, whatever the order of rows.

    Maximum likelihood on the first `FIT_USERS` users (pseudonyms are keyed digests: a random sample), then
    Platt scaling (Platt 1999) of the fitted model's probabilities of `HORIZON_DAYS` days before on the visits since.

    Args:
        state: `interest_state` of the segment as of the end of `day`.
        day: day of the state.

    Returns:
        The parameters, uncalibrated where fewer than `MINIMUM_USERS` were known `HORIZON_DAYS` days before; None
        where there are fewer than `MINIMUM_USERS` users with more than one visit.
    """
    begin = time.perf_counter()
    sample = state.sort_by("user_id").slice(0, FIT_USERS)
    visits = visits_from_state(sample, day)
    if min(len(visits), int((visits.frequency > 0).sum())) < MINIMUM_USERS:
        return None
    parameters = maximum_likelihood(visits)
    before, came = _visits_at_horizon(sample, day)
    if len(before) >= MINIMUM_USERS:
        intercept, slope = _platt_scaling(no_visit_logit(before, parameters), ~came)
        parameters = replace(
            parameters, intercept=CALIBRATION_STEP * intercept, slope=1 + CALIBRATION_STEP * (slope - 1)
        )
    _log.info("churn model: fitted on %d users in %.1f s", len(visits), time.perf_counter() - begin)
    return parameters


def churn_calibration(then: pa.Table, now: pa.Table, day: date, segment: str) -> pa.Table:
    """Return `churn_calibration` of one segment: one row, or none where nothing could be predicted.

    Args:
        then: `interest_state` of `HORIZON_DAYS` days before `day`; parameters and predictions come from it alone.
        now: `interest_state` of `day`: who has come since.
        day: day of the report.
        segment: segment of both states.
    """
    predicted_on = day - timedelta(days=HORIZON_DAYS)
    parameters = fit_churn(then, predicted_on)
    if parameters is None:
        return CHURN_CALIBRATION.empty()
    last = now["last_active_day"].take(pc.index_in(then["user_id"], value_set=now["user_id"]))
    churned = np.asarray(pc.less_equal(last, pa.scalar(predicted_on, pa.date32())))
    row = {"day": day, "segment": segment, **calibration(churn_probabilities(then, parameters, predicted_on), churned)}
    return CHURN_CALIBRATION.conform(pa.Table.from_pylist([row], schema=CHURN_CALIBRATION.schema))


def calibration(probability: Float64[Float64Array, " user"], churned: Bool[BoolArray, " user"]) -> dict[str, Any]:
    """Return the Brier score (Brier 1950), its skill against the observed base rate, and the reliability bins.

    Intervals are normal ones over users, that of the skill by the delta method, and Wilson's in the bins.

    Args:
        probability: predicted probability of churn, of at least one user.
        churned: whether the user churned.

    Returns:
        The columns of `churn_calibration` other than day and segment; the skill is None where all or none churned.
    """
    n_users, base_rate = len(churned), float(churned.mean())
    error, reference = (probability - churned) ** 2, (base_rate - churned) ** 2
    brier = _normal_interval(float(error.mean()), error)
    skill: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
    if 0 < base_rate < 1:
        ratio = float(error.mean() / reference.mean())
        low, high = _normal_interval(1 - ratio, (error - ratio * reference) / reference.mean())[1:]
        skill = (1 - ratio, low, min(high, 1.0))
    return {
        "n_users": n_users,
        "base_rate": base_rate,
        **dict(zip(("brier", "brier_low", "brier_high"), brier, strict=True)),
        **dict(zip(("brier_skill", "brier_skill_low", "brier_skill_high"), skill, strict=True)),
        "reliability": _reliability(probability, churned),
    }


def _visits_at_horizon(state: pa.Table, day: date) -> tuple[Visits, BoolArray]:
    """The users' visits as of `HORIZON_DAYS` before `day`, and whether they have come since, [user].

    Users who first came since are left out. Where a user came on every day that `recent_days` holds, the visit before
    those is unknown and is assumed to be on the day of observation.
    """
    recent = state["recent_days"].combine_chunks()
    recent_day = list_values(recent).field("day").cast(pa.int32()).to_numpy().astype(np.int64)
    n_days = list_lengths(recent)
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
    """Intercept and slope of the logistic regression of `churned` on `logit`, shrunk towards (0, 1).

    The penalty is |weights - (0, 1)|² / 2, so that few users leave the model's own probabilities as they are.
    scikit-learn's logistic regression shrinks slopes towards 0 and leaves the intercept free.
    """
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


def _reliability(probability: Float64Array, churned: BoolArray) -> list[dict[str, float]]:
    """The bins that hold a user, ascending."""
    from scipy.stats import binomtest

    found = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in np.unique(found):
        inside = found == number
        n_users, n_churned = int(inside.sum()), int(churned[inside].sum())
        interval = binomtest(n_churned, n_users).proportion_ci(CONFIDENCE, method="wilson")
        bins.append(
            {
                "predicted_low": int(number) / BINS,
                "predicted_high": (int(number) + 1) / BINS,
                "n_users": n_users,
                "predicted": float(probability[inside].mean()),
                "observed": n_churned / n_users,
                "observed_low": float(interval.low),
                "observed_high": float(interval.high),
            }
        )
    return bins


def _normal_interval(value: float, terms: Float64Array) -> tuple[float, float, float]:
    """`value` with the 95 % interval that the spread of its terms gives it."""
    half_width = NORMAL_95 * float(terms.std()) / len(terms) ** 0.5
    return value, value - half_width, value + half_width
