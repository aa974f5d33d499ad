"""The start of a new interest is the split of the days with the largest likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shift_assets.arrays import Int64Array
from shift_assets.interest.user_days import UserDays
from shift_assets.shift.alerts.onset import MINIMUM_DAYS, likeliest_start
from shift_assets_tests.shift.stationary_users import stationary_users

BEFORE = 15
"""Days of each user that the days of another follow."""


def spliced(n_after: int, n_users: int = 120) -> UserDays:
    """Users who have done as another user does for `n_after` days, day after day; of four tastes some are alike."""
    days = stationary_users(n_users, seed=11, days=(30, 31)).user_days
    user = np.arange(n_users)
    entries = np.concatenate(
        [
            days.start[user][:, None] + np.arange(BEFORE),
            days.start[(user + 1) % n_users][:, None] + BEFORE + np.arange(n_after),
        ],
        axis=1,
    )
    length = entries.shape[1]
    taken = days.take_entries(entries.ravel(), np.arange(n_users + 1) * length)
    return replace(taken, day=np.tile(np.arange(length), n_users))


def errors(n_after: int, *, last_day: int = 10**6) -> Int64Array:
    """Days by which the likeliest start of every user is wrong."""
    user_days = spliced(n_after)
    found = [likeliest_start(user_days, user, 20, last_day) for user in range(user_days.n_users)]
    assert None not in found
    return np.array([int(user_days.day[entry]) for entry in found if entry is not None]) - BEFORE


def test_the_estimate_improves_as_days_go_by() -> None:
    """More starts are found to the day when more days have followed."""
    exact = [float((errors(n_after) == 0).mean()) for n_after in (2, 3, 12)]
    assert exact[0] < exact[1] < exact[2]
    assert exact[2] > 0.75


def test_a_start_lies_among_the_possible_ones() -> None:
    """Not after the last possible day, not before the newest days that may be starts, not at an edge of the days."""
    assert errors(12, last_day=BEFORE).max() == 0
    user_days = spliced(12)
    found = [likeliest_start(user_days, user, 4, 10**6) for user in range(user_days.n_users)]
    index = np.array(found) - user_days.start[:-1]
    assert set(index.tolist()) <= set(range(BEFORE + 12 - 4, BEFORE + 12 - MINIMUM_DAYS + 1))


def test_no_start_is_found_where_too_few_days_lie_on_a_side() -> None:
    """A start has scored days before and since: not the newest day, none of a new user."""
    user_days = spliced(12)
    assert likeliest_start(user_days, 0, MINIMUM_DAYS - 1, 10**6) is None
    short = user_days.take_entries(np.arange(3), np.array([0, 3]))
    assert likeliest_start(short, 0, 20, 10**6) is None
