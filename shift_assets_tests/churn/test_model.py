"""The fit: calibration by recent outcomes, the stack with the model's head, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from shift_assets.churn.bg_nbd import HORIZON_DAYS, ChurnParameters, no_visit_logit, visits_from_state
from shift_assets.churn.model import (
    HEAD_WINDOW_DAYS,
    MINIMUM_WARNINGS,
    HeadPredictions,
    fit_churn,
    segment_model,
)
from shift_assets.contracts.day import date_of, day_number
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.settings.root import ChurnSettings
from shift_assets_tests.churn.visits import DAY, simulated, state_of

pytestmark = pytest.mark.slow

PARAMETERS = ChurnParameters(r=0.8, alpha=20.0, a=0.9, b=4.0)
SETTINGS = ChurnSettings()
NO_HEADS = HeadPredictions(MODEL_PREDICTIONS.empty())


def test_the_fit_does_not_depend_on_the_order_of_rows() -> None:
    """The same state in any order of rows gives the same model."""
    state = state_of(simulated(PARAMETERS, n_users=300, days=200, seed=3), DAY)
    shuffled = state.take(pa.array(np.random.default_rng(0).permutation(len(state))))
    one, other = (fit_churn(each, DAY, NO_HEADS, SETTINGS) for each in (state, shuffled))
    assert one is not None
    assert other is not None
    assert one.parameters == other.parameters
    assert one.threshold == other.threshold
    assert one.by_visits.tolist() == other.by_visits.tolist()


def test_too_few_users_give_no_model() -> None:
    """No users, or users with a single visit each, give nothing to fit, in one segment or all."""
    for state in (state_of([], DAY), state_of([[DAY]] * 100, DAY)):
        assert fit_churn(state, DAY, NO_HEADS, SETTINGS) is None
        assert segment_model(state, lambda state=state: state, DAY, NO_HEADS, SETTINGS) is None  # type: ignore[misc]


@pytest.mark.parametrize("returned", [True, False])
def test_the_last_weeks_calibrate_the_probabilities(returned: bool) -> None:
    """Where everybody came back lately, churn is predicted lower than by the visits alone; where nobody did, higher."""
    log = simulated(PARAMETERS, n_users=2_000, days=200, seed=4)
    cutoff = DAY - timedelta(days=HORIZON_DAYS)
    away = [[day for day in days if day <= cutoff] for days in log if min(days) <= cutoff]
    state = state_of([[*days, DAY - timedelta(days=3)] for days in away] if returned else away, DAY)
    model = fit_churn(state, DAY, NO_HEADS, SETTINGS)
    assert model is not None
    visits = visits_from_state(state, DAY)
    alone = expit(no_visit_logit(visits, model.parameters))
    calibrated = model.probabilities(visits, np.full(len(visits), np.nan))
    assert (calibrated.mean() < alone.mean()) == returned


def heads_of(log: Sequence[Sequence[date]], informed: bool) -> HeadPredictions:
    """Daily predictions of users seen in four weeks: of who will come, with noise, or the same for everybody."""
    random, parts = np.random.default_rng(0), []
    for day in range(day_number(DAY) - HEAD_WINDOW_DAYS + 1, day_number(DAY) + 1):
        today = date_of(day)
        seen = [i for i, days in enumerate(log) if any(0 <= (today - d).days <= HORIZON_DAYS for d in days)]
        stays = np.array([not any(0 < (d - today).days <= HORIZON_DAYS for d in log[i]) for i in seen])
        logit = np.where(stays, 1.5, -1.5) + random.normal(0, 1.5, len(seen)) if informed else np.zeros(len(seen))
        parts.append(
            pa.table(
                {
                    "day": pa.array([today] * len(seen), pa.date32()),
                    "user_id": pa.array([f"{i:032x}" for i in seen], pa.string()),
                    "churn_probability": pa.array(expit(logit), pa.float64()),
                }
            )
        )
    return HeadPredictions(pa.concat_tables(parts))


def test_a_head_that_knows_more_is_stacked_and_one_that_knows_nothing_is_not() -> None:
    """Weighed by the outcomes known so far; users without its prediction keep the probability by their visits."""
    log = simulated(PARAMETERS, n_users=400, days=260, seed=6)
    state = state_of(log, DAY)
    informed, useless = (fit_churn(state, DAY, heads_of(log, each), SETTINGS) for each in (True, False))
    assert informed is not None
    assert useless is not None
    assert informed.stacked is not None
    assert informed.stacked[4] > 0.3
    assert useless.stacked is None
    visits = visits_from_state(state, DAY)
    no_head, sure = np.full(len(visits), np.nan), np.full(len(visits), 0.99)
    np.testing.assert_allclose(
        informed.probabilities(visits, no_head), useless.probabilities(visits, no_head), rtol=1e-9
    )
    assert (informed.probabilities(visits, sure) > informed.probabilities(visits, 1 - sure)).all()


def test_heads_of_after_the_fit_and_too_few_of_them_change_nothing() -> None:
    """Predictions whose 28 days have not passed are no outcomes."""
    log = simulated(PARAMETERS, n_users=200, days=200, seed=8)
    late = pa.table(
        {
            "day": pa.array([DAY - timedelta(days=HORIZON_DAYS - 1)] * len(log), pa.date32()),
            "user_id": pa.array([f"{i:032x}" for i in range(len(log))]),
            "churn_probability": pa.array(np.linspace(0.01, 0.99, len(log))),
        }
    )
    model = fit_churn(state_of(log, DAY), DAY, HeadPredictions(late), SETTINGS)
    assert model is not None
    assert model.stacked is None


def test_a_short_log_takes_the_model_of_all_segments() -> None:
    """Twenty users have no past warnings of their own; a segment with many keeps its own model."""
    few = state_of(simulated(PARAMETERS, n_users=20, days=200, seed=9), DAY)
    many = state_of(simulated(PARAMETERS, n_users=2_000, days=300, seed=10), DAY)
    pooled = segment_model(few, lambda: many, DAY, NO_HEADS, SETTINGS)
    own = segment_model(many, lambda: few, DAY, NO_HEADS, SETTINGS)
    assert pooled is not None
    assert own is not None
    assert (pooled.pooled, own.pooled) == (True, False)
    assert pooled.parameters == own.parameters
    assert own.threshold.n_warnings >= MINIMUM_WARNINGS
