"""Did one policy do better than another? Differences over users, with intervals that may be looked at every day.

Users were dealt to policies by lot (`policies.assignment`) and stay, so the user is the unit: a user's days are summed
first, and the rate of a policy is a ratio of sums over its users, its variance by linearisation (the delta method).
Where shares are learnt, users of one kind of shift are dealt to a policy more often than others: each list weighs 1 /
the probability with which its user was dealt the policy, so that every policy speaks for all users (Hájek 1971). Who
came to the shop may depend on what was shown, so clicks and purchases are over all users with a list; recall is over
the days on which there was something to find.

Two intervals stand beside each difference. The plain one (95 %) holds on a day fixed beforehand. The sequential one
holds on all days at once, so the experiment may be stopped the day it excludes 0: the confidence sequence of a normal
mixture (Robbins 1970; Howard et al. 2021, arXiv 1810.08240), with estimated variance (Waudby-Smith et al. 2021, arXiv
2103.06476), whose dual is the mixture sequential probability ratio test (Johari et al. 2017). Time runs in
information, 1 / variance of the difference. Users who stay make the differences of successive days more alike than
those of independent users at the same information; by Slepian's inequality that makes a crossing rarer, not likelier.

A period has a fixed first day: a window that moved with the day would begin a new test every day.

Numbers of users per policy that do not fit the shares that were meant (a sample ratio mismatch, Fabijan et al. 2019)
mean that something besides the lot decided: no difference can be trusted, and none is told.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array
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

METRICS = ("click_rate", "purchase_rate", "recall_at_k")


EFFECT_SCALE = 0.03
"""Difference of rates for which the sequential test is most sensitive."""


MINIMUM_USERS = 50
"""Users of a policy below which the normal approximation behind both intervals is not believed."""


SAMPLE_RATIO_ALPHA = 0.001
"""p-value of the users' numbers below which the lot is not believed."""


USER_OUTCOMES = pa.schema(
    [
        pa.field("day", pa.date32(), nullable=False),  # of the list
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("propensity", pa.float64(), nullable=False),  # with which the user was dealt the policy
        pa.field("clicked", pa.bool_(), nullable=False),
        pa.field("purchased", pa.bool_(), nullable=False),
        pa.field("recall_at_k", pa.float64()),  # null: the user met nothing in the horizon
    ]
)
"""One list of one user, and what came of it."""


def period_start(day: date, period_days: int) -> date:
    """First day of the period of `period_days` days that holds `day`; periods are counted from 1970-01-01."""
    return date_of(day_number(day) // period_days * period_days)


def experiment_report(
    outcomes: pa.Table, day: date, segment: str, last_recommendation_day: date, settings: ExperimentSettings
) -> pa.Table:
    """Rows of `experiment_report` of `day`: every pair of policies of one segment, each metric.

    `outcomes` holds rows of USER_OUTCOMES, in any order: lists of days after `last_recommendation_day`, or before
    the period that
    holds it, are ignored. Of a pair the baseline is the one that reacts less, in the order of `settings.POLICIES`. A
    pair with fewer than `MINIMUM_USERS` users on a side has a note instead of numbers, and so have all pairs where the
    numbers of users do not fit the shares.
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
    policy = pc.index_in(known["policy"], value_set=pa.array(policies)).to_numpy()
    days = known["day"].cast(pa.int32()).to_numpy()
    measured = _rewards_and_exposures(known)
    sizes = {name: len(np.unique(user[policy == at])) for at, name in enumerate(policies)}
    if settings.learning == "fixed":
        ratio = sample_ratio_p_value(sizes, settings.shares)
    else:
        _, first = np.unique(user, return_index=True)
        ratio = adaptive_ratio_p_value(policy[first], known["propensity"].to_numpy()[first])
    report_days = np.unique(days).tolist()
    rows = []
    for one, name in enumerate(policies):
        for other, baseline in enumerate(policies[:one]):
            for metric, (rewards, exposures) in measured.items():
                sides = [
                    _Side(user[policy == at], days[policy == at], rewards[policy == at], exposures[policy == at])
                    for at in (one, other)
                ]
                rows.append(
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
                        **(
                            {"note": "users did not come to the policies by their shares; no difference can be trusted"}
                            if ratio is not None and ratio < SAMPLE_RATIO_ALPHA
                            else _comparison(sides, len(users), report_days)
                        ),
                    }
                )
    return EXPERIMENT_REPORT.conform(pa.Table.from_pylist(rows, schema=EXPERIMENT_REPORT.schema))


class _Side(NamedTuple):
    """The lists of one policy, [list]."""

    user: npt.NDArray[np.int64]
    day: npt.NDArray[np.int32]
    reward: Float64Array
    exposure: Float64Array


def _rewards_and_exposures(outcomes: pa.Table) -> dict[str, tuple[Float64Array, Float64Array]]:
    """Reward and exposure [list] of every metric, weighed by the odds of being dealt the policy."""
    recall = outcomes["recall_at_k"].to_numpy()
    weight = 1 / outcomes["propensity"].to_numpy()
    return {
        "click_rate": (weight * outcomes["clicked"].cast(pa.float64()).to_numpy(), weight),
        "purchase_rate": (weight * outcomes["purchased"].cast(pa.float64()).to_numpy(), weight),
        "recall_at_k": (weight * np.nan_to_num(recall), weight * ~np.isnan(recall)),
    }


def _comparison(sides: list[_Side], n_users: int, report_days: list[int]) -> dict[str, object]:
    """The measured columns of one pair and metric."""
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
