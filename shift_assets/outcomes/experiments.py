"""The table `experiment_report`: differences between policies, with intervals that are valid on every day.

Users are assigned to policies at random (`experiments.assignment`) and keep their policy, so the user is the unit: a
user's days are summed first, and the rate of a policy is a ratio of sums over its users, with its variance by
linearisation (the delta method). With adaptive shares, users of one kind of shift are assigned to a policy more often
than others: each slate weighs 1 / the probability of the user's assignment, so that every policy represents all users
(Hájek 1971). Visits may depend on the recommendations, so clicks and purchases are over all users with
recommendations; recall is over the days on which a user had events.

There are two intervals of each difference. The fixed-horizon one (95 %) is valid on one day chosen in advance. The
sequential one is valid on all days at once, so that an experiment may be stopped on the day it excludes 0: the
confidence sequence of a normal mixture (Robbins 1970; Howard et al. 2021, arXiv 1810.08240) with estimated variance
(Waudby-Smith et al. 2021, arXiv 2103.06476), the dual of the mixture sequential probability ratio test (Johari et al.
2017). Its time is information, 1 / variance of the difference. Users take part on many days, so that differences of
successive days correlate more than those of independent users with the same information; by Slepian's inequality that
makes a crossing less likely.

A period has a fixed first day; a window that moved with the day would start a new test every day.

If the numbers of users per policy do not fit the configured shares (a sample ratio mismatch, Fabijan et al. 2019), the
assignment was not random: no difference can be trusted, and none is reported.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array, Int64Array, integers
from shift_assets.contracts.day import date_of, day_number
from shift_assets.contracts.outcomes import EXPERIMENT_REPORT
from shift_assets.experiments.assignment import Arm
from shift_assets.outcomes.sequential_test import (
    Difference,
    adaptive_ratio_p_value,
    difference,
    fixed_horizon_interval,
    sample_ratio_p_value,
    sequential,
)
from shift_assets.settings.root import POLICIES, ExperimentSettings

EFFECT_SCALE = 0.03
"""Difference of rates for which the sequential test is most sensitive."""
MINIMUM_USERS = 50
"""Fewest users of a policy for which the normal approximation behind both intervals is used."""
SAMPLE_RATIO_ALPHA = 0.001
"""p-value of a sample ratio mismatch below which no difference is reported."""
USER_OUTCOMES = pa.schema(
    [
        pa.field("day", pa.date32(), nullable=False),  # of the recommendations
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("propensity", pa.float64(), nullable=False),  # of the user's assignment to the policy
        pa.field("clicked", pa.bool_(), nullable=False),
        pa.field("purchased", pa.bool_(), nullable=False),
        pa.field("recall_at_k", pa.float64()),  # null: the user had no event in the horizon
    ]
)
"""The recommendations of a user and day, and their outcome."""


def period_start(day: date, period_days: int) -> date:
    """First day of the period of `period_days` days that contains `day`; periods are counted from 1970-01-01.

    >>> period_start(date(1970, 1, 10), 7)
    datetime.date(1970, 1, 8)
    """
    return date_of(day_number(day) // period_days * period_days)


def experiment_report(
    outcomes: pa.Table, day: date, segment: str, last_recommendation_day: date, settings: ExperimentSettings
) -> pa.Table:
    """Rows of `experiment_report` of `day`: every metric of every pair of policies of one segment.

    The baseline of a pair is the policy that adapts less, in the order of `settings.POLICIES`. A pair with fewer than
    MINIMUM_USERS users on a side has a note instead of numbers, and so have all pairs with a sample ratio mismatch.

    Args:
        outcomes: Rows of USER_OUTCOMES in any order; days after `last_recommendation_day`, or before its period, are
            ignored.
        day: Day of the rows.
        segment: The segment's key.
        last_recommendation_day: Newest day of recommendations whose horizon has passed.
        settings: The experiment.
    """
    first_recommendation_day = period_start(last_recommendation_day, settings.period_days)
    known = outcomes.filter(
        (pc.field("day") >= first_recommendation_day) & (pc.field("day") <= last_recommendation_day)
    ).sort_by([("day", "ascending"), ("user_id", "ascending")])
    if known.num_rows == 0:
        return EXPERIMENT_REPORT.empty()
    users, user = np.unique(known["user_id"].to_numpy(), return_inverse=True)
    policies = sorted(
        pc.unique(known["policy"]).to_pylist(), key=lambda name: (POLICIES.index(Arm.of(name).policy), name)
    )
    policy = integers(pc.index_in(known["policy"], value_set=pa.array(policies)), missing=-1)
    days = known["day"].cast(pa.int32()).to_numpy()
    measured = _rewards_and_exposures(known)
    sizes = {name: len(np.unique(user[policy == at])) for at, name in enumerate(policies)}
    if settings.learning == "fixed":
        ratio = sample_ratio_p_value(sizes, settings.shares)
    else:
        _, first = np.unique(user, return_index=True)
        ratio = adaptive_ratio_p_value(policy[first], known["propensity"].to_numpy()[first])
    mismatch = ratio is not None and ratio < SAMPLE_RATIO_ALPHA

    def compared(pair: tuple[int, int], metric: str) -> dict[str, object]:
        if mismatch:
            return {"note": "users did not come to the policies by their shares; no difference can be trusted"}
        rewards, exposures = measured[metric]
        sides = [
            _Side(user[policy == at], days[policy == at], rewards[policy == at], exposures[policy == at]) for at in pair
        ]
        return _comparison(sides, len(users), np.unique(days).tolist())

    rows = [
        {
            "day": day,
            "segment": segment,
            "experiment": settings.name,
            "period_start": first_recommendation_day,
            "policy": name,
            "baseline": baseline,
            "metric": metric,
            "users": sizes[name],
            "baseline_users": sizes[baseline],
            "sample_ratio_p_value": ratio,
            **compared((one, other), metric),
        }
        for one, name in enumerate(policies)
        for other, baseline in enumerate(policies[:one])
        for metric in measured
    ]
    return EXPERIMENT_REPORT.conform(pa.Table.from_pylist(rows, schema=EXPERIMENT_REPORT.schema))


class _Side(NamedTuple):
    """The slates of one policy, [slate]; days as counts from 1970-01-01."""

    user: Int64Array
    day: npt.NDArray[np.int32]
    reward: Float64Array
    exposure: Float64Array


def _rewards_and_exposures(outcomes: pa.Table) -> dict[str, tuple[Float64Array, Float64Array]]:
    """Reward and exposure [slate] by metric, weighted by the inverse probability of the assignment."""
    recall = outcomes["recall_at_k"].to_numpy()
    weight = 1 / outcomes["propensity"].to_numpy()
    return {
        "click_rate": (weight * outcomes["clicked"].cast(pa.float64()).to_numpy(), weight),
        "purchase_rate": (weight * outcomes["purchased"].cast(pa.float64()).to_numpy(), weight),
        "recall_at_k": (weight * np.nan_to_num(recall), weight * ~np.isnan(recall)),
    }


def _comparison(sides: list[_Side], n_users: int, report_days: list[int]) -> dict[str, object]:
    """The measured columns of one pair and metric: differences after each of the days, and the sequential test."""
    found: list[Difference] = []
    for last in report_days:
        rewards: list[Float64Array] = []
        exposures: list[Float64Array] = []
        for side in sides:
            until = side.day <= last
            seen = np.bincount(side.user[until], side.exposure[until], minlength=n_users).astype(np.float64)
            earned = np.bincount(side.user[until], side.reward[until], minlength=n_users).astype(np.float64)
            rewards.append(earned[seen > 0])
            exposures.append(seen[seen > 0])
        day_difference = difference((rewards[0], rewards[1]), (exposures[0], exposures[1]))
        if day_difference is not None and min(len(seen) for seen in exposures) >= MINIMUM_USERS:
            found.append(day_difference)
    if not found:
        return {"note": f"fewer than {MINIMUM_USERS} users on a side; nothing is compared"}
    low, high = fixed_horizon_interval(found[-1])
    interval = sequential(found, EFFECT_SCALE)
    return {
        "difference": found[-1].value,
        "difference_low": low,
        "difference_high": high,
        "sequential_low": interval.low,
        "sequential_high": interval.high,
        "sequential_p_value": interval.p_value,
        "note": None,
    }
