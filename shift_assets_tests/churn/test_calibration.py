"""The report of what came of the churn predictions."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.churn.bg_nbd import HORIZON_DAYS, ChurnParameters
from shift_assets.churn.calibration import DETECTION_DAYS, calibration, churn_calibration, early_detection
from shift_assets.churn.model import HeadPredictions, fit_churn
from shift_assets.churn.predictions import churn_predictions
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.settings.root import ChurnSettings
from shift_assets_tests.churn.visits import DAY, simulated, state_of

SETTINGS = ChurnSettings()
NO_HEADS = HeadPredictions(MODEL_PREDICTIONS.empty())


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
    assert found["calibration_error"] < 0.01
    assert found["auc"] == pytest.approx(5 / 6, abs=0.01)


def test_the_base_rate_itself_has_no_skill() -> None:
    """Predicting the observed share for everybody has skill 0; predictions that are certain and wrong have less."""
    churned = np.arange(100) < 30
    assert calibration(np.full(100, 0.3), churned)["brier_skill"] == pytest.approx(0)
    assert calibration((~churned).astype(float), churned)["brier_skill"] < 0
    assert calibration(churned.astype(float), churned)["brier_skill"] == 1
    assert [calibration(np.full(100, 0.3), churned | True)[name] for name in ("brier_skill", "auc")] == [None, None]


def test_the_area_under_the_curve_counts_pairs() -> None:
    """Right pairs over all, ties half; the error is the distance in the bins."""
    found = calibration(np.array([0.1, 0.45, 0.45, 0.9]), np.array([False, True, False, True]))
    assert found["auc"] == pytest.approx(3.5 / 4)
    assert found["calibration_error"] == pytest.approx((0.1 + 2 * 0.05 + 0.1) / 4)


def test_the_report_scores_the_predictions_of_four_weeks_ago() -> None:
    """Users who came since have not churned, later ones do not count; warnings of the week are followed up."""
    parameters = ChurnParameters(r=0.8, alpha=15.0, a=0.9, b=4.0)
    log = simulated(parameters, n_users=2_000, days=300, seed=6)
    as_of = DAY - timedelta(days=HORIZON_DAYS)
    model = fit_churn(state_of(log, as_of - timedelta(days=8)), as_of - timedelta(days=8), NO_HEADS, SETTINGS)
    assert model is not None
    days = [CHURN_PREDICTIONS.empty()]
    for back in range(7, -1, -1):
        day = as_of - timedelta(days=back)
        visits = [[visit for visit in user if visit <= day] for user in log]
        state = state_of(visits, day)
        users = [f"{number:032x}" for number, user in enumerate(visits) if user]
        state = state.set_column(0, "user_id", pa.array(users))
        days.append(churn_predictions(state, days[-1], model, NO_HEADS, SETTINGS, day=day, segment="north"))
    now = state_of(log, DAY)
    recent = pa.concat_tables(days[2:])
    row = churn_calibration(days[-1], now, recent, SETTINGS, day=DAY, segment="north").to_pylist()[0]
    known = [int(user, 16) for user in days[-1]["user_id"].to_pylist()]
    stayed = [not any(as_of < visit <= DAY for visit in log[user]) for user in known]
    assert (row["n_users"], row["base_rate"]) == (len(known), pytest.approx(np.mean(stayed)))
    assert row["brier_skill_low"] > 0.1
    assert row["auc"] > 0.7
    assert abs(row["brier"] - row["visits_brier"]) < 0.02
    assert (row["stacked_share"], row["stated_precision"]) == (0, SETTINGS.precision)
    opened = [r for r in recent.to_pylist() if r["warning"] == "opened"]
    right = [
        not any(0 < (visit - r["day"]).days <= HORIZON_DAYS for visit in log[int(r["user_id"], 16)]) for r in opened
    ]
    assert opened
    assert (row["n_warned"], row["warned_precision"]) == (len(opened), pytest.approx(np.mean(right)))


def test_nothing_is_scored_before_there_are_predictions_four_weeks_old() -> None:
    """Without predictions four weeks ago there is no row."""
    empty = CHURN_PREDICTIONS.empty()
    state = state_of([[DAY]], DAY)
    assert churn_calibration(empty, state, empty, SETTINGS, day=DAY, segment="north").num_rows == 0


def test_the_early_detection_curve_says_how_many_were_warned_by_when() -> None:
    """Three users with a rhythm two months gone: warned after 10 and 40 days, and never. Others do not count."""
    rows = [(60, 9, 10), (70, 9, 40), (80, 9, None), (60, 2, None), (50, 9, 10), (84, 9, 10)]
    table = pa.table(
        {
            "days_away": [away for away, _, _ in rows],
            "active_days": [visits for _, visits, _ in rows],
            "last_active_day": pa.array([DAY - timedelta(days=away) for away, _, _ in rows]),
            "warning_opened_day": pa.array(
                [None if late is None else DAY - timedelta(days=away - late) for away, _, late in rows], pa.date32()
            ),
        }
    )
    found = early_detection(table, minimum_active_days=4)
    assert [one["days"] for one in found] == list(DETECTION_DAYS)
    assert [one["warned"] for one in found] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert {one["n_churners"] for one in found} == {3}
    assert early_detection(table.slice(3), minimum_active_days=4) == []
