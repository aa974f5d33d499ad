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

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import chi2, norm

from shift_assets.contracts import EXPERIMENT_REPORT
from shift_assets.days import date_of, day_number
from shift_assets.evaluate.ranking import CONFIDENCE
from shift_assets.policies.assignment import Arm
from shift_assets.settings import POLICIES, ExperimentSettings

Floats = npt.NDArray[np.float64]

METRICS = ("click_rate", "purchase_rate", "recall_at_k")
MINIMUM_USERS = 50
"""Users of a policy below which the normal approximation behind both intervals is not believed."""
MISMATCH = 0.001
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


class Difference(NamedTuple):
    """Rate of a policy less that of another, after all users seen so far."""

    value: float
    standard_error: float


class SequentialInterval(NamedTuple):
    """The ends of a confidence sequence, and the p-value that may be looked at on any day."""

    low: float
    high: float
    p_value: float


def difference(rewards: tuple[Floats, Floats], exposures: tuple[Floats, Floats]) -> Difference | None:
    """Difference of two ratios sum(rewards) / sum(exposures), each over its users [user]; None where one is 0 / 0.

    A user's rewards and exposures are sums over the user's days.
    """
    values, variance = [], 0.0
    for reward, exposure in zip(rewards, exposures, strict=True):
        total = float(exposure.sum())
        if total <= 0:
            return None
        rate = float(reward.sum()) / total
        values.append(rate)
        variance += float(((reward - rate * exposure) ** 2).sum()) / total**2 * len(reward) / max(len(reward) - 1, 1)
    return Difference(values[0] - values[1], float(np.sqrt(variance)))


def plain_interval(found: Difference) -> tuple[float, float]:
    """Normal interval on a day that was fixed beforehand."""
    width = float(norm.ppf((1 + CONFIDENCE) / 2)) * found.standard_error
    return found.value - width, found.value + width


def log_likelihood_ratio(found: Difference, effect_scale: float) -> float:
    """Log of the mixture's likelihood over that of no difference: an e-value's logarithm, in nats.

    The mixture expects differences of N(0, `effect_scale`²). Without any variance seen it says nothing: 0.
    """
    variance = found.standard_error**2
    if variance == 0:
        return 0.0
    both = variance + effect_scale**2
    return float(0.5 * np.log(variance / both) + found.value**2 * effect_scale**2 / (2 * variance * both))


def sequential_width(standard_error: float, effect_scale: float, alpha: float = 1 - CONFIDENCE) -> float:
    """Half width of the confidence sequence: the differences that `log_likelihood_ratio` holds below log(1 / alpha).

    Without any variance seen nothing is excluded: infinity.
    """
    if standard_error == 0:
        return float("inf")
    information = (effect_scale / standard_error) ** 2
    return float(standard_error * np.sqrt((1 + 1 / information) * (np.log1p(information) - 2 * np.log(alpha))))


def sequential(looks: list[Difference], effect_scale: float) -> SequentialInterval:
    """The interval after the last of the daily `looks`, and the smallest p-value of them all.

    Raises ValueError without a look.
    """
    if not looks:
        raise ValueError("a sequential test needs at least one look")
    last = looks[-1]
    width = sequential_width(last.standard_error, effect_scale)
    p_value = min(1.0, *(float(np.exp(-log_likelihood_ratio(look, effect_scale))) for look in looks))
    return SequentialInterval(last.value - width, last.value + width, p_value)


def sample_ratio_p_value(users: Mapping[str, int], shares: Mapping[str, float]) -> float | None:
    """p-value that the numbers of users by policy came from their shares (chi-square); None with one policy only.

    `shares` name all the policies that were dealt, and are divided by their sum; users of any other make it 0.
    """
    if set(users) - set(shares):
        return 0.0
    total = sum(users.values())
    if len(shares) < 2 or total == 0:
        return None
    expected = np.array([shares[name] for name in shares]) / sum(shares.values()) * total
    observed = np.array([users.get(name, 0) for name in shares])
    return float(chi2.sf(((observed - expected) ** 2 / expected).sum(), len(shares) - 1))


def learnt_ratio_p_value(policy: npt.NDArray[np.int64], propensity: Floats) -> float | None:
    """The same where each user was dealt to `policy[user]` with a probability of its own; None with one policy only.

    Under a fair lot the users of a policy, each counted 1 / `propensity[user]` times, are everybody: the policy that
    is furthest from it decides, its p-value times the number of policies (Bonferroni).
    """
    names = np.unique(policy)
    if len(names) < 2:
        return None
    smallest = 1.0
    for name in names:
        weight = 1 / propensity[policy == name]
        spread = float(np.sqrt((weight * (weight - 1)).sum()))
        if spread > 0:
            smallest = min(smallest, float(2 * norm.sf(abs(weight.sum() - len(policy)) / spread)))
    return min(1.0, len(names) * smallest)


def period_start(day: date, period_days: int) -> date:
    """First day of the period of `period_days` days that holds `day`; periods are counted from 1970-01-01."""
    return date_of(day_number(day) // period_days * period_days)


def experiment_report(
    outcomes: pa.Table, day: date, segment: str, last_list: date, settings: ExperimentSettings
) -> pa.Table:
    """Rows of `experiment_report` of `day`: every pair of policies of one segment, each metric.

    `outcomes` holds rows of USER_OUTCOMES, in any order: lists of days after `last_list`, or before the period that
    holds it, are ignored. Of a pair the baseline is the one that reacts less, in the order of `settings.POLICIES`. A
    pair with fewer than `MINIMUM_USERS` users on a side has a note instead of numbers, and so have all pairs where the
    numbers of users do not fit the shares.
    """
    first_list = period_start(last_list, settings.period_days)
    known = outcomes.filter((pc.field("day") >= first_list) & (pc.field("day") <= last_list)).sort_by(
        [("day", "ascending"), ("user_id", "ascending")]
    )
    if known.num_rows == 0:
        return EXPERIMENT_REPORT.empty()
    users, user = np.unique(known["user_id"].to_numpy(), return_inverse=True)
    policies = sorted(
        pc.unique(known["policy"]).to_pylist(), key=lambda name: (POLICIES.index(Arm.of(name).policy), name)
    )
    policy = pc.index_in(known["policy"], value_set=pa.array(policies)).to_numpy()
    days = known["day"].cast(pa.int32()).to_numpy()
    measured = _measured(known)
    sizes = {name: len(np.unique(user[policy == at])) for at, name in enumerate(policies)}
    if settings.learning == "fixed":
        ratio = sample_ratio_p_value(sizes, settings.shares)
    else:
        _, first = np.unique(user, return_index=True)
        ratio = learnt_ratio_p_value(policy[first], known["propensity"].to_numpy()[first])
    looks = np.unique(days).tolist()
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
                        "period_start": first_list,
                        "policy": name,
                        "baseline": baseline,
                        "metric": metric,
                        "users": sizes[name],
                        "baseline_users": sizes[baseline],
                        "sample_ratio_p_value": ratio,
                        **(
                            {"note": "users did not come to the policies by their shares; no difference can be trusted"}
                            if ratio is not None and ratio < MISMATCH
                            else _compared(sides, len(users), looks, settings.effect_scale)
                        ),
                    }
                )
    return EXPERIMENT_REPORT.conform(pa.Table.from_pylist(rows, schema=EXPERIMENT_REPORT.schema))


class _Side(NamedTuple):
    """The lists of one policy, [list]."""

    user: npt.NDArray[np.int64]
    day: npt.NDArray[np.int32]
    reward: Floats
    exposure: Floats


def _measured(outcomes: pa.Table) -> dict[str, tuple[Floats, Floats]]:
    """Reward and exposure [list] of every metric, weighed by the odds of being dealt the policy."""
    recall = outcomes["recall_at_k"].to_numpy()
    weight = 1 / outcomes["propensity"].to_numpy()
    return {
        "click_rate": (weight * outcomes["clicked"].cast(pa.float64()).to_numpy(), weight),
        "purchase_rate": (weight * outcomes["purchased"].cast(pa.float64()).to_numpy(), weight),
        "recall_at_k": (weight * np.nan_to_num(recall), weight * ~np.isnan(recall)),
    }


def _compared(sides: list[_Side], n_users: int, looks: list[int], effect_scale: float) -> dict[str, object]:
    """The measured columns of one pair and metric."""
    found: list[Difference] = []
    for last in looks:
        rewards: list[Floats] = []
        exposures: list[Floats] = []
        for side in sides:
            until = side.day <= last
            seen = np.bincount(side.user[until], side.exposure[until], minlength=n_users).astype(np.float64)
            earned = np.bincount(side.user[until], side.reward[until], minlength=n_users).astype(np.float64)
            rewards.append(earned[seen > 0])
            exposures.append(seen[seen > 0])
        look = difference((rewards[0], rewards[1]), (exposures[0], exposures[1]))
        if look is not None and min(len(seen) for seen in exposures) >= MINIMUM_USERS:
            found.append(look)
    if not found:
        return {"note": f"fewer than {MINIMUM_USERS} users on a side; nothing is compared"}
    low, high = plain_interval(found[-1])
    interval = sequential(found, effect_scale)
    return {
        "difference": found[-1].value,
        "difference_low": low,
        "difference_high": high,
        "sequential_low": interval.low,
        "sequential_high": interval.high,
        "sequential_p_value": interval.p_value,
        "note": None,
    }
