"""The memory of the evidence, read from the columns of `interest_state` and written back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64

from shift_assets.arrays import (
    CategoryCodes,
    Float32Array,
    Float64Array,
    Int64Array,
    list_lengths,
    list_values,
    offsets,
    on_grid,
    sum_by,
)
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.interest.histories import Histories
from shift_assets.interest.user_days import UserDays, Weights, read_weights
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.recursion import Memory

EVIDENCE_STEP = 2.0**-6
"""Grid on which log e-values are stored, nats."""
LEAST_SHARE = 0.002
"""Categories below this share of the segment's profiles are watched as one."""

POOLED = "other categories"
"""Name of the categories below `LEAST_SHARE` together."""

_LIST_TYPE = INTEREST_STATE.column("log_evidence").type


def watched_categories(
    mass: Float64[Float64Array, " category"], least_share: float = LEAST_SHARE
) -> tuple[Int64[Int64Array, " category"], int]:
    """Return the number under which each category is watched, and how many numbers there are.

    A category is watched on its own while the segment's profiles give it a share of at least `least_share`; all
    smaller ones are watched together, because days with an event in a leaf category once a year carry no evidence
    about it.

    Args:
        mass: sum of the profiles of all users; where it is zero, every category is watched on its own.
        least_share: setting of the same name.

    >>> number, n_watched = watched_categories(np.array([50.0, 0.05, 49.0, 0.05]), 0.002)
    >>> number.tolist(), n_watched
    ([0, 2, 1, 2], 3)
    """
    total = mass.sum()
    large = mass >= least_share * total if total > 0 else np.ones(len(mass), dtype=bool)
    number = np.where(large, np.cumsum(large) - 1, int(large.sum()))
    return number.astype(np.int64), int(large.sum()) + int(not large.all())


def pool_rare_categories(histories: Histories) -> Histories:
    """Return the histories on the categories that the state watches; all smaller ones are `POOLED` together."""
    user_days, names = histories.user_days, histories.codes.names.to_pylist()
    mass = sum_by(user_days.category, user_days.share, len(names))
    number, n_watched = watched_categories(mass)
    if n_watched == len(names):
        return histories
    pooled = pa.array([POOLED if code == n_watched - 1 else name for name, code in zip(names, number, strict=True)])
    codes = CategoryCodes(pooled)
    return replace(
        histories,
        codes=codes,
        user_days=UserDays.from_cells(
            user_days.user,
            user_days.day,
            user_days.counts,
            cell_row=user_days.score_entry,
            category=codes.encode(pooled)[user_days.category],
            score=user_days.score,
            n_users=user_days.n_users,
            n_categories=len(codes),
        ),
    )


def profile_mass(profile: pa.ChunkedArray, codes: CategoryCodes) -> Float64Array:
    """Sum of all users' profiles, [category], added in the order of rows."""
    weights = read_weights(profile, codes)
    return sum_by(weights.category, weights.weight, len(codes))


def own_shares(user_days: UserDays) -> Float64Array:
    """Share of the day, [score], without the platform's part where it is still stored."""
    return np.where(user_days.own_share > 0, user_days.own_share, user_days.share)


def restore_memory(
    before: pa.Table, user_days: UserDays, profile: Weights, watch: tuple[Int64Array, int], settings: EvidenceSettings
) -> Memory:
    """Return the memory of users before a day.

    Args:
        before: their rows of `interest_state` of the day before, [user].
        user_days: their recent days with `own_share`; the last entry of each user is the day itself.
        profile: their long-term profiles.
        watch: result of `watched_categories`.
        settings: number of possible starts.
    """
    number, n_watched = watch
    starts, n_users = settings.starts, user_days.n_users
    days = np.array(pc.fill_null(before["scored_days"], 0).to_numpy(), dtype=np.int64)
    dense = sum_by(profile.user * n_watched + number[profile.category], profile.weight, n_users * n_watched)
    scored = user_days.is_scored
    scored[user_days.start[1:] - 1] = False  # today is still to come
    entry = np.flatnonzero(scored)
    user = user_days.user[entry]
    n_held = np.bincount(user, minlength=n_users)
    back = np.repeat(np.cumsum(n_held), n_held) - 1 - np.arange(len(entry))
    recent = back < starts
    # A day that is no longer stored is an entry without shares, after all others.
    ring = np.full((n_users, starts), len(user_days.day), dtype=np.int64)
    ring[user[recent], (days[user] - 1 - back)[recent] % starts] = entry[recent]
    log_evidence = np.zeros((n_users, starts), dtype=np.float32)
    listed, age, value = _newest_first(before["log_evidence"])
    keep = age < starts
    log_evidence[listed[keep], (days[listed] - 1 - age)[keep] % starts] = value[keep]
    listed, age, value = _newest_first(before["run_length"])
    oldest = age == list_lengths(before["run_length"])[listed] - 1
    position = np.where(oldest | (age >= starts), starts, (days[listed] - 1 - age) % starts)
    run = sum_by(listed * (starts + 1) + position, value, n_users * (starts + 1)).reshape(n_users, starts + 1)
    run[:, starts] += run.sum(axis=1) == 0  # nothing is known of a new user
    response = [
        np.asarray(pc.fill_null(before[name], 0.0).to_numpy(), dtype=np.float32)
        for name in ("response_gradient", "response_information")
    ]
    return Memory(
        days=days,
        profile=dense.reshape(n_users, n_watched).astype(np.float32),
        ring=ring,
        log_evidence=log_evidence,
        run=run.astype(np.float32),
        response=np.stack(response, axis=1),
        share_start=np.append(user_days.score_start, user_days.score_start[-1]),
        category=number[user_days.category],
        share=own_shares(user_days).astype(np.float32),
    )


def memory_columns(memory: Memory) -> dict[str, pa.Array]:
    """Return the columns of `interest_state` that hold the memory."""
    n_users, starts = memory.ring.shape
    length = np.minimum(memory.days, starts)
    user = np.repeat(np.arange(n_users), length)
    back = np.repeat(np.cumsum(length), length) - 1 - np.arange(len(user))
    slot = (memory.days[user] - 1 - back) % starts
    run_start = offsets(length + 1)
    run = np.empty(run_start[-1], dtype=np.float32)
    is_before = np.zeros(len(run), dtype=bool)
    is_before[run_start[:-1]] = True
    run[is_before], run[~is_before] = memory.run[:, starts], memory.run[user, slot]
    return {
        "scored_days": pa.array(memory.days),
        "log_evidence": _list(offsets(length), on_grid(memory.log_evidence[user, slot], EVIDENCE_STEP)),
        "run_length": _list(run_start, pa.array(_rounded_mantissa(run))),
        "response_gradient": pa.array(memory.response[:, 0]),
        "response_information": pa.array(memory.response[:, 1]),
    }


def drop_shares_older_than_starts(user_days: UserDays, starts: int) -> UserDays:
    """Set the `own_share` of days that are no longer possible starts to zero."""
    scored = user_days.is_scored
    scored_so_far = np.cumsum(scored)
    scored_since = (
        np.repeat(scored_so_far[user_days.start[1:] - 1], user_days.n_days) - scored_so_far + scored
    )  # including the day itself
    keep = scored_since[user_days.score_entry] <= starts
    return replace(user_days, own_share=np.where(keep, user_days.own_share, np.float32(0.0)))


def _newest_first(column: pa.ChunkedArray) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Row, position counted from the end, and value of every element of a list column."""
    length = list_lengths(column)
    row = np.repeat(np.arange(len(length)), length)
    age = np.repeat(np.cumsum(length), length) - 1 - np.arange(len(row))
    return row, age, list_values(column).to_numpy(zero_copy_only=False).astype(np.float64)


def _rounded_mantissa(value: Float32Array) -> Float32Array:
    """`value` with eight binary digits: fewer bytes on disk, whatever its size."""
    mantissa, exponent = np.frexp(value)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32)


def _list(start: Int64Array, value: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(start.astype(np.int32)), value, type=_LIST_TYPE)
