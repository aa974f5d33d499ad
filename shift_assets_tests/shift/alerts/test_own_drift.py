"""The size of an alert is compared with the moves that users make over as many days anyway."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.arrays import CategoryCodes
from shift_assets.interest.user_days import UserDays
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.alert_profiles import AlertProfiles
from shift_assets.shift.alerts.own_drift import MINIMUM_DAYS_BEFORE, MINIMUM_MOVES, OwnDrift
from shift_assets.shift.alerts.shift_alerts import severity_by_mix, shift_alerts
from shift_assets.shift.detector.signals import shift_signals
from shift_assets_tests.shift.logs import Days, row_of, states_of
from shift_assets_tests.shift.stationary_users import stationary_users

SETTINGS = Settings()


def several(n_users: int, days: int = 20) -> tuple[UserDays, CategoryCodes]:
    found = stationary_users(n_users, seed=3, days=(days, days + 1))
    return found.user_days, found.codes


def move_over(user_days: UserDays, codes: CategoryCodes, user: int, days: int) -> float:
    """The magnitude of an alert of a user whose onset is that many active days ago."""
    onset = user_days.day[user_days.start[1:] - days]
    return float(AlertProfiles.since(user_days, onset, codes, SETTINGS.state).magnitude[user])


@pytest.mark.parametrize("days", [1, 3, 12])
def test_the_quantile_is_the_rank_of_a_users_own_move_among_all(days: int) -> None:
    """An alert as large as a user's move over the same days has the rank of that move, in the middle of its equals."""
    user_days, codes = several(60)
    moves = np.array([move_over(user_days, codes, user, days) for user in range(60)])
    found = OwnDrift(user_days, codes).quantile_of(moves, np.full(60, days))
    smaller = (moves[None, :] < moves[:, None]).mean(axis=1)
    equal = (moves[None, :] == moves[:, None]).mean(axis=1)
    np.testing.assert_allclose(found, smaller + equal / 2)
    assert OwnDrift(user_days, codes).quantile_of(np.array([1.1, -0.1]), np.array([days, days])).tolist() == [1.0, 0.0]


def test_a_move_over_many_days_is_rarer_than_one_as_large_over_few() -> None:
    """Two days differ from the days before by chance alone; between two sizes of the grid the smaller one counts."""
    drift = OwnDrift(*several(200))
    one, three, four, many = drift.quantile_of(np.full(4, 0.35), np.array([1, 3, 4, 30])).tolist()
    assert one < three == four < many


def test_few_users_are_compared_over_all_days_together_and_too_few_not_at_all() -> None:
    """Below the minimum of moves over as many days those over all days count; below it again nothing is known."""
    of = (np.array([0.35, 0.35]), np.array([1, 12]))
    few, many = (
        OwnDrift(*several(MINIMUM_MOVES - 1)).quantile_of(*of),
        OwnDrift(*several(MINIMUM_MOVES)).quantile_of(*of),
    )
    assert few[0] == few[1]
    assert many[0] < many[1]
    short = several(MINIMUM_MOVES - 1, MINIMUM_DAYS_BEFORE + 1)
    assert np.isnan(OwnDrift(*short).quantile_of(*of)).all()
    assert OwnDrift(*several(4)).quantile_of(np.zeros(0), np.zeros(0, dtype=np.int64)).tolist() == []


def test_severity_follows_the_quantile_and_is_medium_where_it_is_unknown() -> None:
    """The settings say from which quantile on."""
    alerts = SETTINGS.alerts.model_copy(update={"severity_quantiles": (0.5, 0.9)})
    found = [severity_by_mix(quantile, alerts) for quantile in (0.49, 0.5, 0.89, 0.9, np.nan)]
    assert found == ["low", "medium", "medium", "high", "medium"]


@pytest.mark.slow
def test_the_same_alert_is_severe_among_steady_users_and_common_among_fickle_ones() -> None:
    """A switch to another interest is larger than any move of users of one habit, and no more than usual among users
    who do something else on each visit."""
    switch: Days = [{"mugs": 4}] * 20 + [{"toys": 4}] * 6
    steady: Days = [{"mugs": 5, "toys": 1}, {"mugs": 4, "toys": 1}] * 13
    fickle: Days = [{f"c{number}": 3} for number in range(26)]
    severities = {}
    for name, others in (("steady", steady), ("fickle", fickle)):
        log = {"ann": switch, **{f"{name}-{number}": others for number in range(MINIMUM_MOVES)}}
        state = states_of(log, SETTINGS)[-1]
        alert = row_of(shift_alerts(state, shift_signals(state, SETTINGS), SETTINGS), "ann")
        severities[name] = alert["severity"]
        assert alert["magnitude"] == 1
        assert (alert["magnitude_quantile"] > 0.95) == (name == "steady")
    assert severities == {"steady": "high", "fickle": "low"}
