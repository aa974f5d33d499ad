"""BG/NBD: what the visits alone say."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from shift_assets.churn.bg_nbd import (
    HORIZON_DAYS,
    ChurnParameters,
    Visits,
    dropout_log_odds,
    maximum_likelihood,
    no_visit_logit,
    visits_from_state,
)
from shift_assets_tests.churn.visits import DAY, simulated, state_of

pytestmark = pytest.mark.slow

PARAMETERS = ChurnParameters(r=0.8, alpha=20.0, a=0.9, b=4.0)


def one(frequency: float, recency: float, age: float) -> Visits:
    return Visits(*(np.array([value], dtype=np.float64) for value in (frequency, recency, age)))


@settings(deadline=None)  # the first example pays for an import
@given(st.integers(1, 400), st.integers(1, 1_000), st.integers(0, 1_000), st.integers(1, 500))
def test_absence_only_lowers_the_probability_alive(frequency: int, recency: int, away: int, more: int) -> None:
    """The odds that a user has left rise with every day of absence, however many the visits."""
    recency = max(recency, frequency)
    before, after = (
        dropout_log_odds(one(frequency, recency, recency + days), PARAMETERS)[0] for days in (away, away + more)
    )
    assert before <= after


def test_after_a_single_visit_nobody_has_left() -> None:
    """The model lets users leave only after they came again; they may still stay away."""
    assert dropout_log_odds(one(0, 0, 500), PARAMETERS)[0] == -np.inf
    assert 0 < no_visit_logit(one(0, 0, 500), PARAMETERS)[0] < np.inf


def test_probabilities_are_those_of_the_simulated_process() -> None:
    """Among users simulated with known parameters, as many stay away as the probabilities say, in every fifth."""
    log = simulated(PARAMETERS, n_users=20_000, days=300 + HORIZON_DAYS, seed=1)
    observation = DAY - timedelta(days=HORIZON_DAYS)
    state = state_of([[day for day in days if day <= observation] for days in log], observation)
    churned = np.array([max(days) <= observation for days in log if min(days) <= observation])
    probability = expit(no_visit_logit(visits_from_state(state, observation), PARAMETERS))
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
