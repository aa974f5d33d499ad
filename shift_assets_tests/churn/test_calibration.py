"""The calibration report of churn warnings."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from shift_assets.churn.bg_nbd import HORIZON_DAYS, ChurnParameters
from shift_assets.churn.calibration import calibration, churn_calibration
from shift_assets_tests.churn.visits import DAY, simulated, state_of


def test_true_probabilities_lie_on_the_diagonal() -> None:
    """Outcomes drawn from the probabilities: most bins' intervals hold their mean prediction, the skill is known."""
    random = np.random.default_rng(5)
    probability = random.uniform(size=20_000)
    found = calibration(probability, random.random(20_000) < probability)
    assert sum(one["n_users"] for one in found["reliability"]) == found["n_users"] == 20_000
    held = [one["observed_low"] <= one["predicted"] <= one["observed_high"] for one in found["reliability"]]
    assert len(held) == 10
    assert sum(held) >= 8
    assert found["brier_low"] < 1 / 6 < found["brier_high"]
    assert found["brier_skill_low"] < 1 / 3 < found["brier_skill_high"]


def test_the_base_rate_itself_has_no_skill() -> None:
    """Predicting the observed share for everybody has skill 0; predictions that are certain and wrong have less."""
    churned = np.arange(100) < 30
    assert calibration(np.full(100, 0.3), churned)["brier_skill"] == pytest.approx(0)
    assert calibration((~churned).astype(float), churned)["brier_skill"] < 0
    assert calibration(churned.astype(float), churned)["brier_skill"] == 1
    assert calibration(np.full(100, 0.3), churned | True)["brier_skill"] is None


def test_the_report_scores_the_predictions_of_four_weeks_ago() -> None:
    """Predictions need the old state only; users who came since have not churned, later ones do not count."""
    parameters = ChurnParameters(r=0.8, alpha=15.0, a=0.9, b=4.0)
    log = simulated(parameters, n_users=3_000, days=200, seed=6)
    as_of = DAY - timedelta(days=HORIZON_DAYS)
    late = simulated(parameters, n_users=5, days=10, seed=7)
    then, now = state_of([[day for day in days if day <= as_of] for days in log], as_of), state_of([*log, *late], DAY)
    known = [days for days in log if min(days) <= as_of]
    then = then.set_column(0, "user_id", now["user_id"].take([i for i, days in enumerate(log) if min(days) <= as_of]))
    row = churn_calibration(then, now, DAY, "north").to_pylist()[0]
    assert row["n_users"] == len(known)
    assert row["base_rate"] == pytest.approx(np.mean([max(days) <= as_of for days in known]))
    assert row["brier_skill_low"] > 0.1


def test_nothing_is_scored_before_there_is_a_state_four_weeks_old() -> None:
    """Without users four weeks ago there is no row."""
    empty = state_of([], DAY)
    assert churn_calibration(empty, state_of([[DAY]], DAY), DAY, "north").num_rows == 0
