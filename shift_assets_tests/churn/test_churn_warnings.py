"""Churn model and churn warnings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.churn.alerts import churn_alerts, with_churn_columns
from shift_assets.churn.bg_nbd import (
    HORIZON_DAYS,
    ChurnParameters,
    Visits,
    churn_probabilities,
    dropout_log_odds,
    maximum_likelihood,
)
from shift_assets.churn.calibration import fit_churn
from shift_assets.churn.warnings import ChurnObservation, ChurnWarnings, churn_severity, churn_transitions, visits_lost
from shift_assets.settings.root import ChurnSettings, Settings
from shift_assets_tests.churn.visits import DAY, simulated, state_of

pytestmark = pytest.mark.slow

PARAMETERS = ChurnParameters(r=0.8, alpha=20.0, a=0.9, b=4.0)
SETTINGS = ChurnSettings()


def one(frequency: float, recency: float, age: float) -> Visits:
    return Visits(*(np.array([value], dtype=np.float64) for value in (frequency, recency, age)))


@settings(deadline=None)  # the first example pays for an import
@given(st.integers(1, 400), st.integers(1, 1_000), st.integers(0, 1_000), st.integers(1, 500))
def test_silence_only_lowers_the_probability_alive(frequency: int, recency: int, silence: int, more: int) -> None:
    """The odds that a user has left rise with every day of silence, however many the visits."""
    recency = max(recency, frequency)
    before, after = (
        dropout_log_odds(one(frequency, recency, recency + days), PARAMETERS)[0] for days in (silence, silence + more)
    )
    assert before <= after


def test_after_a_single_visit_nobody_has_left() -> None:
    """The model lets users leave only after they came again; they may still stay away."""
    assert dropout_log_odds(one(0, 0, 500), PARAMETERS)[0] == -np.inf
    state = state_of([[DAY - timedelta(days=500)]], DAY)
    assert 0.5 < churn_probabilities(state, PARAMETERS, DAY)[0] < 1


def test_probabilities_are_those_of_the_simulated_process() -> None:
    """Among users simulated with known parameters, as many stay away as the probabilities say, in every fifth."""
    log = simulated(PARAMETERS, n_users=20_000, days=300 + HORIZON_DAYS, seed=1)
    observation = DAY - timedelta(days=HORIZON_DAYS)
    state = state_of([[day for day in days if day <= observation] for days in log], observation)
    churned = np.array([max(days) <= observation for days in log if min(days) <= observation])
    probability = churn_probabilities(state, PARAMETERS, observation)
    for fifth in np.array_split(np.argsort(probability), 5):
        assert churned[fifth].mean() == pytest.approx(probability[fifth].mean(), abs=0.025)


def test_the_fit_recovers_the_parameters_that_made_the_visits() -> None:
    """Maximum likelihood on simulated visits finds the mean rate and the mean probability of leaving."""
    log = simulated(PARAMETERS, n_users=20_000, days=400, seed=2)
    first, last = (np.array([(end(days) - DAY).days for days in log], dtype=float) for end in (min, max))
    visits = Visits(np.array([len(days) - 1.0 for days in log]), last - first, -first)
    found = maximum_likelihood(visits)
    assert found.r / found.alpha == pytest.approx(PARAMETERS.r / PARAMETERS.alpha, rel=0.1)
    assert found.a / (found.a + found.b) == pytest.approx(PARAMETERS.a / (PARAMETERS.a + PARAMETERS.b), rel=0.1)


def test_the_fit_does_not_depend_on_the_order_of_rows() -> None:
    """The same state in any order of rows gives the same parameters."""
    state = state_of(simulated(PARAMETERS, n_users=300, days=200, seed=3), DAY)
    shuffled = state.take(pa.array(np.random.default_rng(0).permutation(len(state))))
    assert fit_churn(state, DAY) == fit_churn(shuffled, DAY)


def test_the_last_weeks_calibrate_the_probabilities() -> None:
    """Where everybody came back lately, churn is predicted lower than by the model alone; where nobody did, higher."""
    log = simulated(PARAMETERS, n_users=2_000, days=200, seed=4)
    cutoff = DAY - timedelta(days=HORIZON_DAYS)
    silent = [[day for day in days if day <= cutoff] for days in log if min(days) <= cutoff]
    back = [[*days, DAY - timedelta(days=3)] for days in silent]
    for visits, above in ((silent, True), (back, False)):
        fitted = fit_churn(state_of(visits, DAY), DAY)
        assert fitted is not None
        assert (fitted.intercept > 0) == above


def test_too_few_users_give_no_parameters() -> None:
    """No users, or users with a single visit each, give nothing to fit."""
    assert fit_churn(state_of([], DAY), DAY) is None
    assert fit_churn(state_of([[DAY]] * 100, DAY), DAY) is None


def episode(probabilities: Sequence[float], visits: Sequence[int] = (), active_days: int = 10) -> list[str]:
    """What happened on each day to the warning of one user, who was known before."""
    warnings = ChurnWarnings(np.array([probabilities[0]]), np.array([False]))
    statuses = []
    for number, probability in enumerate(probabilities):
        observation = ChurnObservation(np.array([probability]), np.array([active_days]), np.array([number in visits]))
        step = churn_transitions(warnings, observation, SETTINGS)
        assert not (step.opened & step.closed).any()
        statuses.append("opened" if step.opened[0] else "closed" if step.closed[0] else "")
        warnings = step.now
    return statuses


def test_one_warning_per_silence_and_a_visit_ends_it() -> None:
    """It opens when the threshold is crossed, stays while the probability varies around it, and closes at a visit."""
    assert episode([0.5, 0.85, 0.79, 0.82, 0.9, 0.3], visits=[5]) == ["", "opened", "", "", "", "closed"]
    assert episode([0.5, 0.85, 0.55, 0.85]) == ["", "opened", "closed", "opened"]


def test_users_without_a_rhythm_get_no_warning() -> None:
    """Neither one above the threshold already at a visit, nor one seen a few times, nor one not known yesterday."""
    assert episode([0.85, 0.9, 0.95]) == [""] * 3
    assert episode([0.5, 0.9], active_days=3) == [""] * 2
    assert episode([np.nan, 0.9, 0.95]) == [""] * 3


def test_severity_follows_the_visits_lost() -> None:
    """A weekly visitor's warning has high severity, that of one who came every two months low."""
    weekly, seldom = ([date.fromordinal(DAY.toordinal() - gap * number) for number in range(6)] for gap in (7, 60))
    lost = visits_lost(state_of([weekly, seldom, [DAY]], DAY))
    assert sorted(churn_severity(value, SETTINGS) for value in lost) == ["high", "low", "low"]


def states_day_by_day(visits: Sequence[int], parameters: ChurnParameters | None, n_days: int) -> list[pa.Table]:
    """The states with churn columns of one user, day by day from the first visit on; visits are days of the log."""
    first = DAY - timedelta(days=n_days)
    log = [first + timedelta(days=number) for number in visits]
    states: list[pa.Table] = []
    for number in range(n_days):
        day = first + timedelta(days=number)
        before = states[-1].to_pylist()[0] if states else dict.fromkeys(CHURN_TYPES)
        state = state_of([[visit for visit in log if visit <= day]], day)
        state = state.append_column("day", pa.array([day])).append_column("segment", pa.array(["north"]))
        for name, kind in CHURN_TYPES.items():
            state = state.append_column(name, pa.array([before[name]], kind))
        states.append(with_churn_columns(state, parameters, day, SETTINGS))
    return states


CHURN_TYPES = {"churn_probability": pa.float64(), "churn_opened_day": pa.date32(), "churn_status": pa.string()}


def test_a_long_silence_is_reported_when_it_starts_and_when_it_ends() -> None:
    """Weekly visits, seven months of silence, a return: one alert, whose id and onset are the same when it closes."""
    visits = [7 * number for number in range(20)]
    states = states_day_by_day([*visits, 350], PARAMETERS, 360)
    alerts = churn_alerts(pa.concat_tables(states), Settings())
    opened, closed = alerts.to_pylist()
    assert (opened["status"], closed["status"]) == ("opened", "closed")
    assert opened["alert_id"] == closed["alert_id"]
    first = DAY - timedelta(days=360)
    assert opened["onset_day"] == closed["onset_day"] == first + timedelta(days=visits[-1] + 1)
    assert closed["day"] == first + timedelta(days=350)
    assert (
        opened["confidence"]
        >= SETTINGS.threshold
        > states[opened["day"].toordinal() - first.toordinal() - 1]["churn_probability"][0].as_py()
    )
    assert opened["explanation"].startswith(f"Away since {opened['onset_day']}, usually back after 7 days")
    assert closed["explanation"] == f"Back, after being away since {closed['onset_day']}."
    assert states[-1]["churn_opened_day"][0].as_py() is None


def test_without_parameters_nothing_opens() -> None:
    """A log too short to fit has empty columns."""
    last = states_day_by_day([0, 7, 14, 21], None, 100)[-1]
    assert [last[name][0].as_py() for name in CHURN_TYPES] == [None, None, None]
