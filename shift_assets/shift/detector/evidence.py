"""Evidence that a user's interest has shifted: one unit per user and active day.

Two readings of one recursion over the last `starts` scored days of a user, each of them a possible start of a new
regime:

- **Alarm statistic** M: the mean over the possible starts j of E_j, the product of the daily likelihood ratios
  since j of "a new mix of categories, learnt from the days since j" against "the user's own profile". A daily ratio
  is exp(sum_k f_k log(q_k / p_k)) with f the day's shares; by Jensen's inequality it is at most sum_k f_k q_k / p_k,
  whose mean is one whenever the expected shares are p, however bursty the day's events are and however many. So
  each E_j is an e-process, M has mean at most one on every day, and P(M >= A) <= 1/A (Markov). Capping a daily ratio
  lowers it, so it keeps the bound, and one odd day cannot raise an alarm. This is the windowed Shiryaev-Roberts form
  of the e-detector of Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change
  detection", NEJSDS (2023).
- **Confidence**: the posterior probability that a new regime began within the last `posterior_window` scored days,
  from the run-length recursion of Adams and MacKay, "Bayesian online changepoint detection" (2007), with the same
  predictive mixes and one unit of weight per day.

What everybody does is taken out first. The mix of the day is compared, category by category, with the mix that the
active users' own profiles foretell; a user's expected shares are multiplied by that ratio (`tilt`), learnt without
the user, shrunk towards one, and raised to the user's own learnt response to such moves. Profiles learn the shares
divided by it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from shift_assets.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import EvidenceSettings

ALERT_PRIOR_DAYS = 1.0
"""Weight of the base mix in the new mix behind M, in days; the base is half own profile, half segment, because
most shifts leave part of the old interest. Chosen on simulated logs with seeds of their own."""
POSTERIOR_PRIOR_DAYS = 2.0
"""The same behind the confidence; its base is the segment's mix alone."""
RESPONSE_PRIOR = 1.0
"""Fisher information with which a user's response to platform moves is held at one."""
RESPONSE_THRESHOLD = 0.04
"""Total variation between foretold and observed mix of a day from which the response is looked at."""


class Memory(NamedTuple):
    """What the recursion remembers of every user, and the shares of the days it may look back to.

    A ring is circular: scored day number i of a user is in slot `i % starts`.
    """

    days: Int64Array  # [user], scored days so far
    profile: Float32Array  # [user, category], decayed sum of daily shares without the platform's part
    ring: Int64Array  # [user, start], the scored day as an entry of `share_start`
    log_evidence: Float32Array  # [user, start], log E_j
    run: Float32Array  # [user, start + 1], posterior of the start of the current regime; the last: before the ring
    response: Float32Array  # [user, 2], numerator and information of the learnt response, less one
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
        """Users without a past, and the entries of `user_days` that are to come."""
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
    """What the recursion says at the end of a day; nan and -1 for a day without score."""

    log_e: Float64Array  # [entry], log M in nats
    posterior: Float64Array  # [entry], 0..1
    onset: Int64Array  # [entry], the likeliest start by E_j, as an entry
    platform_move: Float64Array  # [entry], total variation between the segment's foretold and observed mix of that day


def trace(histories: Histories, settings: EvidenceSettings) -> Evidence:
    """The evidence after every active day of the users of one segment, day by day from nothing.

    Nothing about a day depends on a later one.
    """
    return trace_user_days(histories.user_days, len(histories.codes), settings)


def trace_user_days(user_days: UserDays, n_categories: int, settings: EvidenceSettings) -> Evidence:
    """`trace`, of rings whose categories are codes below `n_categories`."""
    memory = Memory.initial(user_days, n_categories, settings.starts)
    scored = user_days.is_scored
    user = user_days.user
    order = np.lexsort((user, user_days.day))
    order = order[scored[order]]
    out = no_evidence(len(user_days.day))
    day_starts = np.flatnonzero(np.diff(user_days.day[order], prepend=np.iinfo(np.int64).min))
    mass = np.zeros(n_categories)
    for first, last in itertools.pairwise([*day_starts, len(order)]):
        entries = order[first:last]
        users = user[entries]
        before = memory.profile[users].sum(axis=0, dtype=np.float64)
        advance_day(memory, users, entries, segment_mix(mass), settings=settings, out=out)
        mass += memory.profile[users].sum(axis=0, dtype=np.float64) - before
    return out


def segment_mix(mass: Float64Array) -> Float64Array:
    """Shares [category] of the profiles of a whole segment, with one day's weight spread evenly.

    mass: sum of the profiles of all users, [category].
    """
    flat = np.maximum(mass, 0.0) + 1.0 / max(len(mass), 1)
    return np.asarray(flat / flat.sum())


def advance_day(
    memory: Memory,
    users: Int64Array,
    entries: Int64Array,
    mix: Float64Array,
    *,
    settings: EvidenceSettings,
    out: Evidence,
) -> None:
    """Take one day of a segment into `memory` and write what it says to `out`, at its entries.

    users, entries: the users with score on that day and their entries of `memory.share`, in the same order; no user
    twice. mix: the segment's mix before the day, [category].
    """
    if len(users) == 0:
        return
    parameters = _Parameters(
        settings.decay, **settings.model_dump(exclude={"starts", "half_life_active_days", "least_share"})
    )
    move = _advance_day(memory, users, entries, mix, parameters, out)
    out.platform_move[entries] = move


@dataclass(frozen=True, slots=True)
class EValue:
    """The alarm statistic as a detector."""

    settings: EvidenceSettings
    name: str = "e_value"

    def score(self, histories: Histories) -> Float64Array:
        return trace(histories, self.settings).log_e


@dataclass(frozen=True, slots=True)
class Posterior:
    """The confidence as a detector, in log odds."""

    settings: EvidenceSettings
    name: str = "posterior"

    def score(self, histories: Histories) -> Float64Array:
        probability = trace(histories, self.settings).posterior
        return np.asarray(np.log(probability / np.maximum(1.0 - probability, 1e-12)))


def no_evidence(n_entries: int) -> Evidence:
    """Evidence of entries that no day has reached."""
    return Evidence(
        np.full(n_entries, np.nan),
        np.full(n_entries, np.nan),
        np.full(n_entries, -1, dtype=np.int64),
        np.full(n_entries, np.nan),
    )


class _Parameters(NamedTuple):
    """The numbers of `EvidenceSettings` that the recursion reads."""

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


@njit(cache=True)
def _advance_day(  # noqa: PLR0912, PLR0915, PLR0917 - one pass over the users, all of it in scratch rows
    memory: Memory, users: Int64Array, entries: Int64Array, mix: Float64Array, parameters: _Parameters, out: Evidence
) -> float:
    share_start, category, share = memory.share_start, memory.category, memory.share
    profile, ring, log_evidence, run, response = (
        memory.profile,
        memory.ring,
        memory.log_evidence,
        memory.run,
        memory.response,
    )
    decay, prior_days, hazard = parameters.decay, parameters.prior_days, parameters.hazard
    log_cap, relearned = np.log(parameters.day_cap), 1.0 - parameters.null_learning
    n_categories = profile.shape[1]
    starts = ring.shape[1]
    n_active = len(users)

    # 1. the platform: mix foretold by the profiles and mix observed, both as sums over users
    predicted, observed = np.zeros(n_categories), np.zeros(n_categories)
    for x in range(n_active):
        own = profile[users[x]]
        weight = prior_days
        for k in range(n_categories):
            weight += own[k]
        for k in range(n_categories):
            predicted[k] += (own[k] + prior_days * mix[k]) / weight
        for i in range(share_start[entries[x]], share_start[entries[x] + 1]):
            observed[category[i]] += share[i]
    move = 0.0
    for k in range(n_categories):
        move += abs(predicted[k] - observed[k]) / (2 * n_active)
    promotion_factor = max(0.0, 1.0 - parameters.promotion_guard * max(0.0, move - parameters.promotion_guard_from))

    tilt, old, base = np.empty(n_categories), np.empty(n_categories), np.empty(n_categories)
    since, since_decayed = np.zeros(n_categories), np.zeros(n_categories)
    for x in range(n_active):
        user, entry = users[x], entries[x]
        first, last = share_start[entry], share_start[entry + 1]
        own = profile[user]
        n = memory.days[user]
        slot = n % starts

        # 2. expected shares of the user's own profile, tilted by what the others did
        for k in range(n_categories):
            since[k] = 0.0
        for i in range(first, last):
            since[category[i]] += share[i]
        weight = prior_days
        for k in range(n_categories):
            weight += own[k]
        exponent = min(3.0, max(0.0, 1.0 + response[user, 0] / (response[user, 1] + RESPONSE_PRIOR)))
        tilted_mix, tilted_own, tilted_base = 0.0, 0.0, 0.0
        for k in range(n_categories):
            old[k] = (own[k] + prior_days * mix[k]) / weight
            shrinkage = parameters.platform_prior_users * predicted[k] / n_active
            others = predicted[k] - old[k] + shrinkage
            tilt[k] = (observed[k] - since[k] + shrinkage) / others if others > 1e-12 else 1.0
            if move > RESPONSE_THRESHOLD:
                tilt[k] = max(tilt[k], 1e-6) ** exponent
            base[k] = 0.5 * (mix[k] + old[k])
            tilted_mix += mix[k] * tilt[k]
            tilted_own += own[k] * tilt[k]
            tilted_base += base[k] * tilt[k]
            since[k] = 0.0
            since_decayed[k] = 0.0
        old_scale = (tilted_own + prior_days * tilted_mix) / weight

        # 3. a regime that starts today, and the one from before the ring
        log_old, log_new_mix, log_new_base = 0.0, 0.0, 0.0
        for i in range(first, last):
            k = category[i]
            log_old += share[i] * np.log(old[k] / old_scale)
            log_new_mix += share[i] * np.log(mix[k] / tilted_mix)
            log_new_base += share[i] * np.log(base[k] / tilted_base)
        run[user, starts] += run[user, slot]
        run[user, slot] = 0.0
        weights = 0.0
        for j in range(starts + 1):
            weights += run[user, j]
        run[user, starts] *= (1.0 - hazard) * np.exp(log_old)
        new_run = hazard * weights * np.exp(log_new_mix)
        run_total, run_recent = run[user, starts] + new_run, new_run
        e_total, best, onset = 0.0, -np.inf, entry

        # 4. every start in the ring, newest first, so that the days since it are a running sum
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
            age_weight *= decay
            scale_mix = tilted_since + POSTERIOR_PRIOR_DAYS * tilted_mix
            scale_base = tilted_since + ALERT_PRIOR_DAYS * tilted_base
            scale_null = tilted_own - relearned * tilted_since_decayed + prior_days * tilted_mix
            log_new, log_ratio = 0.0, 0.0
            for i in range(first, last):
                k = category[i]
                log_new += share[i] * np.log((since[k] + POSTERIOR_PRIOR_DAYS * mix[k]) / scale_mix)
                null = max(own[k] - relearned * since_decayed[k], 0.0) + prior_days * mix[k]
                log_ratio += share[i] * np.log(
                    (since[k] + ALERT_PRIOR_DAYS * base[k]) / scale_base * (scale_null / null)
                )
            run[user, j] *= (1.0 - hazard) * np.exp(log_new)
            run_total += run[user, j]
            if back + 1 < parameters.posterior_window:
                run_recent += run[user, j]
            if n - 1 - back >= parameters.minimum_days_before:
                log_evidence[user, j] += promotion_factor * min(log_ratio, log_cap)
                e_total += np.exp(log_evidence[user, j])
                if log_evidence[user, j] > best:
                    best, onset = log_evidence[user, j], start_entry
        run[user, slot] = new_run
        for j in range(starts + 1):
            run[user, j] /= run_total
        log_evidence[user, slot] = 0.0
        if n >= parameters.minimum_days_before:
            log_evidence[user, slot] = promotion_factor * min(log_new_base - log_old, log_cap)
            e_total += np.exp(log_evidence[user, slot])
            if log_evidence[user, slot] > best:
                onset = entry
        out.log_e[entry] = np.log(max(e_total / starts, 1e-12))
        out.posterior[entry] = min(run_recent / run_total, 1.0)
        out.onset[entry] = onset

        # 5. learn the response (one Fisher-scoring step on the tilted family), then the day without the tilt
        if move > RESPONSE_THRESHOLD:
            mean, square, seen = 0.0, 0.0, 0.0
            for k in range(n_categories):
                slope = np.log(tilt[k]) / max(exponent, 0.2)
                expected = old[k] * tilt[k] / old_scale
                mean += expected * slope
                square += expected * slope * slope
            for i in range(first, last):
                seen += share[i] * np.log(tilt[category[i]]) / max(exponent, 0.2)
            information = max(square - mean * mean, 0.0)
            response[user, 0] = decay * response[user, 0] + (seen - mean) + information * (exponent - 1.0)
            response[user, 1] = decay * response[user, 1] + information
        total = 0.0
        for i in range(first, last):
            total += share[i] / tilt[category[i]]
        for k in range(n_categories):
            own[k] *= decay
        for i in range(first, last):
            share[i] = share[i] / tilt[category[i]] / total
            own[category[i]] += share[i]
        ring[user, slot] = entry
        memory.days[user] = n + 1
    return move
