"""Evidence that a user's interest has shifted, in which every active day of a user counts as one unit.

Two statistics come from one recursion over the last `starts` scored days of a user, each of them a possible start of a
new regime:

- **Alert statistic** M: the mean over the possible starts j of E_j, the product of the daily likelihood ratios since j
  of "a new mix of categories, learned from the days since j" against "the user's own profile". A daily ratio is
  exp(sum_k f_k log(q_k / p_k)) with f the day's shares; by Jensen's inequality it is at most sum_k f_k q_k / p_k, whose
  mean is one whenever the expected shares are p, however bursty and however many the day's events are. So each E_j is
  an e-process, M has mean at most one on every day, and P(M >= A) <= 1/A (Markov). Capping a daily ratio lowers it, so
  the bound still holds, and one odd day cannot open an alert. This is the windowed Shiryaev-Roberts form of the
  e-detector of Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection",
  NEJSDS (2023). The threshold A = 1/alpha is the average run length, in active days, without a change.
- **Confidence**: the posterior probability that a new regime began within the last `posterior_window` scored days,
  from the run-length recursion of Adams and MacKay, "Bayesian online changepoint detection", arXiv 0710.3742 (2007),
  with the same predictive mixes and one unit of weight per day.

Moves of the whole platform are removed first. The mix of the day is compared, category by category, with the mix that
the active users' own profiles predict; a user's expected shares are multiplied by that ratio (the tilt), estimated
without the user, shrunk towards one, and raised to the user's own learned response to such moves. Profiles learn the
shares divided by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.recursion import Evidence, Memory, Parameters, advance_users
from shift_assets.shift.detector.window_ratios import WindowObserver, window_ratios


class EvidenceParameters(EvidenceSettings):
    """Settings and constants of the evidence; another value of a constant makes alerts incomparable."""

    hazard: float = 0.001
    """Prior probability per scored day that a regime begins."""
    prior_days: float = 3.0
    """Weight of the segment's mix in a user's profile, in days."""
    null_learning: float = 0.5
    """How far the days since a possible start count for the old profile; 1: in full."""
    day_cap: float = 3.0
    """Most that one day may multiply the evidence by."""
    minimum_days_before: int = 4
    """Scored days that must lie before a start."""
    platform_prior_users: float = 20.0
    """Active users whose weight holds the day's tilt at one."""
    promotion_guard_from: float = 0.1
    """Total variation of the segment's mix above which the promotion guard works."""

    @classmethod
    def of(cls, settings: EvidenceSettings) -> Self:
        """Return the settings with the constants; parameters as they are."""
        return settings if isinstance(settings, cls) else cls(**settings.model_dump())


def trace(histories: Histories, settings: EvidenceSettings) -> Evidence:
    """Return the evidence after every active day of the users of one segment, from their first day on.

    Nothing about a day depends on a later one.

    Args:
        histories: all users of a segment, or a sample; their categories are watched as they are.
        settings: windows and priors.
    """
    return trace_user_days(histories.user_days, len(histories.codes), settings)


def trace_user_days(
    user_days: UserDays, n_categories: int, settings: EvidenceSettings, observers: Sequence[WindowObserver] = ()
) -> Evidence:
    """Return `trace` of user days whose categories are codes below `n_categories`, and fill the observers' ratios."""
    memory = Memory.initial(user_days, n_categories, settings.starts)
    scored = user_days.is_scored
    user = user_days.user
    order = np.lexsort((user, user_days.day))
    order = order[scored[order]]
    out = Evidence.empty(len(user_days.day))
    day_starts = np.flatnonzero(np.diff(user_days.day[order], prepend=np.iinfo(np.int64).min))
    mass = np.zeros(n_categories)
    for first, last in itertools.pairwise([*day_starts, len(order)]):
        entries = order[first:last]
        users = user[entries]
        before = memory.profile[users].sum(axis=0, dtype=np.float64)
        advance_day(memory, users, entries, segment_mix(mass), settings=settings, out=out)
        for observer in observers:
            wanted = observer.wanted[entries]
            if wanted.any():
                ratios = window_ratios(memory, users[wanted], observer.prior, decay=settings.decay)
                observer.found.log_ratio[entries[wanted]] = ratios.log_ratio
                observer.found.days_before[entries[wanted]] = ratios.days_before
        mass += memory.profile[users].sum(axis=0, dtype=np.float64) - before
    return out


def segment_mix(mass: Float64[Float64Array, " category"]) -> Float64[Float64Array, " category"]:
    """Return the category shares of a whole segment, with one day's weight spread evenly.

    mass: sum of the profiles of all users.

    >>> segment_mix(np.array([2.5, 0.5])).tolist()
    [0.75, 0.25]
    """
    flat = np.maximum(mass, 0.0) + 1.0 / max(len(mass), 1)
    return np.asarray(flat / flat.sum())


def advance_day(
    memory: Memory,
    users: Int64[Int64Array, " active"],
    entries: Int64[Int64Array, " active"],
    mix: Float64[Float64Array, " category"],
    *,
    settings: EvidenceSettings,
    out: Evidence,
) -> None:
    """Advance `memory` by one day of a segment, and write the day's results to `out`.

    Args:
        memory: memory of the segment's users; changed in place.
        users: the users with a score on that day, no user twice.
        entries: their entries of `memory.share`, in the same order.
        mix: the segment's mix before the day.
        settings: windows and priors.
        out: written at `entries`.
    """
    if len(users) == 0:
        return
    parameters = Parameters(
        settings.decay, **EvidenceParameters.of(settings).model_dump(exclude={"starts", "half_life_active_days"})
    )
    out.platform_move[entries] = advance_users(memory, users, entries, mix, parameters, out)
