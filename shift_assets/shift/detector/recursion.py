"""The compiled recursion behind the evidence: one active day of a segment, user by user.

The formulas are those of `shift.detector.evidence`; this module only fixes their order, so that a day costs one pass
over the shares of each user's possible starts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.interest.user_days import UserDays

ALERT_PRIOR_DAYS = 1.0
"""Weight of the base mix in the new mix behind M, in days; the base is half own profile, half segment, because
most shifts leave part of the old interest. Chosen on simulated logs with seeds of their own."""
POSTERIOR_PRIOR_DAYS = 2.0
"""The same weight behind the confidence, whose base is the segment's mix alone."""
RESPONSE_PRIOR = 1.0
"""Fisher information of the prior that holds a user's response to platform moves at one."""
RESPONSE_THRESHOLD = 0.04
"""Total variation between predicted and observed mix of a day from which the response is used and learned."""
_LARGEST_RESPONSE = 3.0
_SMALLEST_TILT, _SMALLEST_SUM = 1e-6, 1e-12
_SMALLEST_EXPONENT = 0.2
"""Keeps the slope of the tilt finite for a user whose response is near zero."""


_inlined = njit(cache=True, inline="always")
"""For the parts of the recursion: compiled calls that pass the arrays on made a day 15 % slower."""


class Memory(NamedTuple):
    """What the recursion remembers of every user, and the shares of the days it may look back to.

    A ring is circular: scored day number i of a user is in slot `i % starts`.
    """

    days: Int64Array  # [user], scored days so far
    profile: Float32Array  # [user, category], decayed sum of daily shares without the platform's part
    ring: Int64Array  # [user, start], the scored day as an entry of `share_start`
    log_evidence: Float32Array  # [user, start], log E_j
    run: Float32Array  # [user, start + 1], posterior of the start of the current regime; the last: before the ring
    response: Float32Array  # [user, 2], numerator and information of the learned response, less one
    share_start: Int64Array  # [entry + 1]
    category: Int64Array  # [share]
    share: Float32Array  # [share]; becomes the share without the platform's part once its day is done

    def reset(self, users: BoolArray) -> None:
        """Spend the evidence of these users [user]: what they do now is their normal, no regime has begun."""
        self.log_evidence[users] = 0.0
        self.run[users] = 0.0
        self.run[users, -1] = 1.0

    @classmethod
    def initial(cls, user_days: UserDays, n_categories: int, starts: int) -> Memory:
        """Return the memory of users without a past, whose days of `user_days` are still to come."""
        n = user_days.n_users
        run = np.zeros((n, starts + 1), dtype=np.float32)
        run[:, starts] = 1.0
        return cls(
            days=np.zeros(n, dtype=np.int64),
            profile=np.zeros((n, n_categories), dtype=np.float32),
            ring=np.zeros((n, starts), dtype=np.int64),
            log_evidence=np.zeros((n, starts), dtype=np.float32),
            run=run,
            response=np.zeros((n, 2), dtype=np.float32),
            share_start=np.array(user_days.score_start),
            category=np.array(user_days.category),
            share=user_days.share.astype(np.float32),
        )


class Evidence(NamedTuple):
    """Results of the recursion at the end of a day; nan and -1 for a day without score."""

    log_e: Float64Array  # [entry], log M in nats
    posterior: Float64Array  # [entry], 0..1
    onset: Int64Array  # [entry], the likeliest start by E_j, as an entry
    platform_move: Float64Array  # [entry], total variation between the segment's predicted and observed mix of that day

    @classmethod
    def empty(cls, n_entries: int) -> Evidence:
        """Return the evidence of entries that no day has reached."""
        unknown = (np.full(n_entries, np.nan) for _ in range(3))
        return cls(next(unknown), next(unknown), np.full(n_entries, -1, dtype=np.int64), next(unknown))


class Parameters(NamedTuple):
    """The numbers of `EvidenceParameters` that the recursion reads."""

    decay: float
    posterior_window: int
    hazard: float
    prior_days: float
    null_learning: float
    day_cap: float
    minimum_days_before: int
    platform_prior_users: float
    promotion_guard: float
    promotion_guard_from: float


class _Segment(NamedTuple):
    """One day of the whole segment."""

    mix: Float64Array  # [category], before the day
    predicted: Float64Array  # [category], sum of the active users' expected shares
    observed: Float64Array  # [category], sum of their shares
    n_active: int
    move: float  # total variation between the two
    promotion_factor: float  # part of the day's evidence that counts
    log_cap: float


class _Scratch(NamedTuple):
    """Rows [category] that are reused for every user."""

    old: Float64Array  # expected shares before the tilt
    tilt: Float64Array
    base: Float64Array  # base mix of the new mix behind M
    since: Float64Array  # sum of shares since a start
    since_decayed: Float64Array


class _Tilted(NamedTuple):
    """Sums over categories after the tilt, which normalise mixes."""

    mix: float
    own: float
    base: float
    old: float
    exponent: float


@njit(cache=True)
def advance_users(  # noqa: PLR0917 - compiled functions take no keywords
    memory: Memory, users: Int64Array, entries: Int64Array, mix: Float64Array, parameters: Parameters, out: Evidence
) -> float:
    """Advance `memory` by one day of these users, write `out` at their entries, and return the platform's move."""
    n_categories, n_active = memory.profile.shape[1], len(users)
    predicted, observed = np.zeros(n_categories), np.zeros(n_categories)
    _add_mixes(memory, users, entries, mix, parameters.prior_days, predicted, observed)
    move = 0.0
    for k in range(n_categories):
        move += abs(predicted[k] - observed[k]) / (2 * n_active)
    promotion_factor = max(0.0, 1.0 - parameters.promotion_guard * max(0.0, move - parameters.promotion_guard_from))
    segment = _Segment(mix, predicted, observed, n_active, move, promotion_factor, np.log(parameters.day_cap))
    scratch = _Scratch(
        np.empty(n_categories),
        np.empty(n_categories),
        np.empty(n_categories),
        np.zeros(n_categories),
        np.zeros(n_categories),
    )
    profile = memory.profile
    for x in range(n_active):
        user, entry = users[x], entries[x]
        own = profile[user]
        tilted = _expect_shares(memory, own, user, entry, segment, parameters, scratch)
        _update_regimes(memory, own, user, entry, segment, parameters, tilted, scratch, out)
        if move > RESPONSE_THRESHOLD:
            _learn_response(memory, user, entry, parameters.decay, tilted, scratch)
        _add_day(memory, own, user, entry, parameters.decay, scratch.tilt)
    return move


@_inlined
def _add_mixes(  # noqa: PLR0917
    memory: Memory,
    users: Int64Array,
    entries: Int64Array,
    mix: Float64Array,
    prior_days: float,
    predicted: Float64Array,
    observed: Float64Array,
) -> None:
    """Add the users' expected shares to `predicted` and their shares of the day to `observed`."""
    profile, share_start, category, share = memory.profile, memory.share_start, memory.category, memory.share
    for x in range(len(users)):
        own = profile[users[x]]
        weight = prior_days
        for k in range(len(own)):
            weight += own[k]
        for k in range(len(own)):
            predicted[k] += (own[k] + prior_days * mix[k]) / weight
        for i in range(share_start[entries[x]], share_start[entries[x] + 1]):
            observed[category[i]] += share[i]


@_inlined
def _expect_shares(  # noqa: PLR0917
    memory: Memory,
    own: Float32Array,
    user: int,
    entry: int,
    segment: _Segment,
    parameters: Parameters,
    scratch: _Scratch,
) -> _Tilted:
    """Fill `scratch` with the user's expected shares, the tilt by what the others did, and the base mix."""
    category, share, response = memory.category, memory.share, memory.response
    mix, predicted, observed, n_active, move = (
        segment.mix,
        segment.predicted,
        segment.observed,
        segment.n_active,
        segment.move,
    )
    old, tilt, base, since, since_decayed = (
        scratch.old,
        scratch.tilt,
        scratch.base,
        scratch.since,
        scratch.since_decayed,
    )
    prior_days, prior_users = parameters.prior_days, parameters.platform_prior_users
    for k in range(len(own)):
        since[k] = 0.0
    for i in range(memory.share_start[entry], memory.share_start[entry + 1]):
        since[category[i]] += share[i]
    weight = prior_days
    for k in range(len(own)):
        weight += own[k]
    exponent = min(_LARGEST_RESPONSE, max(0.0, 1.0 + response[user, 0] / (response[user, 1] + RESPONSE_PRIOR)))
    tilted_mix, tilted_own, tilted_base = 0.0, 0.0, 0.0
    for k in range(len(own)):
        old[k] = (own[k] + prior_days * mix[k]) / weight
        shrinkage = prior_users * predicted[k] / n_active
        others = predicted[k] - old[k] + shrinkage
        tilt[k] = (observed[k] - since[k] + shrinkage) / others if others > _SMALLEST_SUM else 1.0
        if move > RESPONSE_THRESHOLD:
            tilt[k] = max(tilt[k], _SMALLEST_TILT) ** exponent
        base[k] = 0.5 * (mix[k] + old[k])
        tilted_mix += mix[k] * tilt[k]
        tilted_own += own[k] * tilt[k]
        tilted_base += base[k] * tilt[k]
        since[k] = 0.0
        since_decayed[k] = 0.0
    return _Tilted(tilted_mix, tilted_own, tilted_base, (tilted_own + prior_days * tilted_mix) / weight, exponent)


@_inlined
def _update_regimes(  # noqa: PLR0917
    memory: Memory,
    own: Float32Array,
    user: int,
    entry: int,
    segment: _Segment,
    parameters: Parameters,
    tilted: _Tilted,
    scratch: _Scratch,
    out: Evidence,
) -> None:
    """Advance the evidence and the posterior of every possible start by the user's day, and write `out`."""
    run, log_evidence = memory.run, memory.log_evidence
    starts = memory.ring.shape[1]
    n = memory.days[user]
    slot = n % starts
    # A regime that starts today, and the one from before the ring.
    log_old, log_new_mix, log_new_base = _log_shares(memory, entry, segment.mix, tilted, scratch)
    run[user, starts] += run[user, slot]
    run[user, slot] = 0.0
    weights = 0.0
    for j in range(starts + 1):
        weights += run[user, j]
    run[user, starts] *= (1.0 - parameters.hazard) * np.exp(log_old)
    new_run = parameters.hazard * weights * np.exp(log_new_mix)
    # Every start in the ring, newest first, so that the days since it are a running sum.
    run_total, run_recent, e_total, best, onset = _continue_starts(
        memory, own, user, entry, segment, parameters, tilted, scratch, run[user, starts] + new_run, new_run
    )
    run[user, slot] = new_run
    for j in range(starts + 1):
        run[user, j] /= run_total
    log_evidence[user, slot] = 0.0
    if n >= parameters.minimum_days_before:
        log_evidence[user, slot] = segment.promotion_factor * min(log_new_base - log_old, segment.log_cap)
        e_total += np.exp(log_evidence[user, slot])
        if log_evidence[user, slot] > best:
            onset = entry
    memory.ring[user, slot] = entry
    out.log_e[entry] = np.log(max(e_total / starts, _SMALLEST_SUM))
    out.posterior[entry] = min(run_recent / run_total, 1.0)
    out.onset[entry] = onset


@_inlined
def _log_shares(
    memory: Memory, entry: int, mix: Float64Array, tilted: _Tilted, scratch: _Scratch
) -> tuple[float, float, float]:
    """Log-likelihood of the day's shares under the old profile, the segment's mix and the base mix, nats."""
    category, share, old, base = memory.category, memory.share, scratch.old, scratch.base
    log_old, log_mix, log_base = 0.0, 0.0, 0.0
    for i in range(memory.share_start[entry], memory.share_start[entry + 1]):
        k = category[i]
        log_old += share[i] * np.log(old[k] / tilted.old)
        log_mix += share[i] * np.log(mix[k] / tilted.mix)
        log_base += share[i] * np.log(base[k] / tilted.base)
    return log_old, log_mix, log_base


@_inlined
def _continue_starts(  # noqa: PLR0917
    memory: Memory,
    own: Float32Array,
    user: int,
    entry: int,
    segment: _Segment,
    parameters: Parameters,
    tilted: _Tilted,
    scratch: _Scratch,
    run_total: float,
    run_recent: float,
) -> tuple[float, float, float, float, int]:
    """Advance every start in the ring; sums of all and of recent runs, sum of E_j, largest log E_j, and its entry."""
    share_start, category, share = memory.share_start, memory.category, memory.share
    ring, run, log_evidence = memory.ring, memory.run, memory.log_evidence
    tilt, base, since, since_decayed = scratch.tilt, scratch.base, scratch.since, scratch.since_decayed
    mix, relearned = segment.mix, 1.0 - parameters.null_learning
    starts, n = ring.shape[1], memory.days[user]
    e_total, best, onset = 0.0, -np.inf, entry
    age_weight, tilted_since, tilted_since_decayed = 1.0, 0.0, 0.0
    for back in range(min(n, starts - 1)):
        j = (n - 1 - back) % starts
        start_entry = ring[user, j]
        if share_start[start_entry] == share_start[start_entry + 1]:
            break  # this day and all before it are no longer remembered: such starts count for nothing
        for i in range(share_start[start_entry], share_start[start_entry + 1]):
            k = category[i]
            since[k] += share[i]
            since_decayed[k] += share[i] * age_weight
            tilted_since += share[i] * tilt[k]
            tilted_since_decayed += share[i] * age_weight * tilt[k]
        age_weight *= parameters.decay
        scale_mix = tilted_since + POSTERIOR_PRIOR_DAYS * tilted.mix
        scale_base = tilted_since + ALERT_PRIOR_DAYS * tilted.base
        scale_null = tilted.own - relearned * tilted_since_decayed + parameters.prior_days * tilted.mix
        log_new, log_ratio = 0.0, 0.0
        for i in range(share_start[entry], share_start[entry + 1]):
            k = category[i]
            log_new += share[i] * np.log((since[k] + POSTERIOR_PRIOR_DAYS * mix[k]) / scale_mix)
            null = max(own[k] - relearned * since_decayed[k], 0.0) + parameters.prior_days * mix[k]
            log_ratio += share[i] * np.log((since[k] + ALERT_PRIOR_DAYS * base[k]) / scale_base * (scale_null / null))
        run[user, j] *= (1.0 - parameters.hazard) * np.exp(log_new)
        run_total += run[user, j]
        if back + 1 < parameters.posterior_window:
            run_recent += run[user, j]
        if n - 1 - back >= parameters.minimum_days_before:
            log_evidence[user, j] += segment.promotion_factor * min(log_ratio, segment.log_cap)
            e_total += np.exp(log_evidence[user, j])
            if log_evidence[user, j] > best:
                best, onset = log_evidence[user, j], start_entry
    return run_total, run_recent, e_total, best, onset


@_inlined
def _learn_response(  # noqa: PLR0917
    memory: Memory, user: int, entry: int, decay: float, tilted: _Tilted, scratch: _Scratch
) -> None:
    """Learn the user's response to the platform's move: one Fisher-scoring step on the tilted family."""
    category, share, response, old, tilt = memory.category, memory.share, memory.response, scratch.old, scratch.tilt
    mean, square, seen = 0.0, 0.0, 0.0
    for k in range(len(tilt)):
        slope = np.log(tilt[k]) / max(tilted.exponent, _SMALLEST_EXPONENT)
        expected = old[k] * tilt[k] / tilted.old
        mean += expected * slope
        square += expected * slope * slope
    for i in range(memory.share_start[entry], memory.share_start[entry + 1]):
        seen += share[i] * np.log(tilt[category[i]]) / max(tilted.exponent, _SMALLEST_EXPONENT)
    information = max(square - mean * mean, 0.0)
    response[user, 0] = decay * response[user, 0] + (seen - mean) + information * (tilted.exponent - 1.0)
    response[user, 1] = decay * response[user, 1] + information


@_inlined
def _add_day(  # noqa: PLR0917
    memory: Memory, own: Float32Array, user: int, entry: int, decay: float, tilt: Float64Array
) -> None:
    """Divide the day's shares by the tilt, and add them to the user's decayed profile."""
    first, last = memory.share_start[entry], memory.share_start[entry + 1]
    category, share = memory.category, memory.share
    total = 0.0
    for i in range(first, last):
        total += share[i] / tilt[category[i]]
    for k in range(len(own)):
        own[k] *= decay
    for i in range(first, last):
        share[i] = share[i] / tilt[category[i]] / total
        own[category[i]] += share[i]
    memory.days[user] += 1
