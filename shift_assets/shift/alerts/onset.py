"""Onset of a shift: the split of the recent days with the largest likelihood."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.interest.user_days import UserDays

MINIMUM_DAYS = 2
"""Minimum number of active days on either side of an onset: one odd day is not a new interest."""


def mix_split_gain(scores: Float64[Float64Array, "day category"]) -> Float64[Float64Array, " day"]:
    """Log-likelihood gain, in nats, of a change of the category mix at day i, [day].

    The gain compares the maximum-likelihood mixes of days < i and days >= i with the one mix of all days (the
    log-likelihood ratio of a multinomial change point). Every day counts as one observation of its own shares, because
    the events of a day are clustered: a day with fifty events says little more about taste than a day with five.

    Args:
        scores: scores by day, oldest first.

    Returns:
        The gain; -inf where a side has fewer than `MINIMUM_DAYS` days.
    """
    total = scores.sum(axis=1, keepdims=True)
    shares = np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)
    gone = np.vstack([np.zeros(shares.shape[1]), np.cumsum(shares, axis=0)])[:-1]
    everything = shares.sum(axis=0)
    gain = _log_likelihood(gone) + _log_likelihood(everything - gone) - _log_likelihood(everything)
    return _inner(gain)


def activity_split_gain(counts: Float64[Float64Array, " day"]) -> Float64[Float64Array, " day"]:
    """Log-likelihood gain, in nats, of a change of the Poisson rate at day i, [day]; -inf as in `mix_split_gain`.

    counts: events of each day, oldest first.
    """
    n_days = len(counts)
    before = np.arange(n_days)
    gone = np.concatenate([[0.0], np.cumsum(counts)])[:-1]
    total = counts.sum()
    gain = _rate_term(gone, before) + _rate_term(total - gone, n_days - before) - _rate_term(total, n_days)
    return _inner(np.asarray(gain))


def onset_entry(user_days: UserDays, user: int, *, by_activity: bool) -> int:
    """Return the entry of `user` with which the new interest, or the new level of activity, begins."""
    first, last = int(user_days.start[user]), int(user_days.start[user + 1])
    if by_activity:
        gain = activity_split_gain(user_days.counts[first:last].sum(axis=1).astype(np.float64))
    else:
        gain = mix_split_gain(_scores_by_day(user_days, np.arange(first, last)))
    return first + int(np.argmax(gain))


def likeliest_start(user_days: UserDays, user: int, starts: int, last_day: int) -> int | None:
    """Return the entry of `user` with which the new mix most likely begins, by the scored days on both sides.

    Args:
        user_days: recent days.
        user: the user.
        starts: number of newest scored days that are possible starts.
        last_day: last day that is a possible start, days since 1970-01-01.

    Returns:
        The entry; None where no possible start has `MINIMUM_DAYS` scored days on both sides.
    """
    entries = np.arange(user_days.start[user], user_days.start[user + 1])
    scores = _scores_by_day(user_days, entries)
    scored = scores.sum(axis=1) > 0
    entries = entries[scored]
    possible = (np.arange(len(entries)) >= len(entries) - starts) & (user_days.day[entries] <= last_day)
    gain = np.where(possible, mix_split_gain(scores[scored]), -np.inf)
    return int(entries[np.argmax(gain)]) if np.isfinite(gain).any() else None


def _scores_by_day(user_days: UserDays, entries: Int64Array) -> Float64Array:
    """Scores of successive entries, over the categories that they name, [entry, category]."""
    begin, end = int(user_days.score_start[entries[0]]), int(user_days.score_start[entries[-1] + 1])
    named, category = np.unique(user_days.category[begin:end], return_inverse=True)
    scores = np.zeros((len(entries), len(named)))
    day = np.repeat(np.arange(len(entries)), np.diff(user_days.score_start)[entries])
    scores[day, category] = user_days.score[begin:end]
    return scores


def _log_likelihood(mass: Float64Array) -> Float64Array:
    """Maximum log-likelihood of the shares, `sum_c m_c log(m_c / m)`, over the last axis."""
    total = mass.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = np.where(mass > 1e-12, mass * np.log(mass / total), 0.0)
    return np.asarray(terms.sum(axis=-1))


def _rate_term(events: Float64Array | float, days: Int64Array | int) -> Float64Array:
    """Maximum Poisson log-likelihood of `events` in `days`, without the terms that are the same for every split."""
    events, days = np.asarray(events, dtype=np.float64), np.asarray(days, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((events > 0) & (days > 0), events * np.log(events / days), 0.0)


def _inner(gain: Float64Array) -> Float64Array:
    """`gain`, -inf where a side of the split has fewer than `MINIMUM_DAYS` days."""
    index = np.arange(len(gain))
    return np.where((index >= MINIMUM_DAYS) & (index <= len(gain) - MINIMUM_DAYS), gain, -np.inf)
