"""When churn warnings open and close, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.churn.alerts import churn_alerts, churn_sentence
from shift_assets.churn.bg_nbd import ChurnParameters
from shift_assets.churn.model import ChurnModel, HeadPredictions
from shift_assets.churn.predictions import churn_predictions
from shift_assets.churn.threshold import WarningThreshold
from shift_assets.churn.warnings import GONE_DAYS, ChurnObservation, churn_severity, churn_transitions
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.settings.root import ChurnSettings, Settings
from shift_assets_tests.churn.visits import DAY, state_of

SETTINGS = ChurnSettings()
THRESHOLD = 0.8
NO_HEADS = HeadPredictions(MODEL_PREDICTIONS.empty())
MODEL = ChurnModel(
    ChurnParameters(r=0.8, alpha=20.0, a=0.9, b=4.0),
    np.array([0.0, 1.0, 0.0, 0.0]),
    None,
    WarningThreshold(THRESHOLD, 100, 0.9, 0.82),
)


def episode(
    probabilities: Sequence[float],
    visits: Sequence[int] = (),
    *,
    thresholds: Sequence[float | None] | None = None,
    may_open: bool = True,
    days_away: int = 10,
) -> list[str]:
    """What happened on each day to the warning of one user whose absence began before the first."""
    is_open, warned, statuses = np.array([False]), np.array([False]), []
    for number, probability in enumerate(probabilities):
        observation = ChurnObservation(
            np.array([probability]),
            np.array([probabilities[max(number - 7, 0)]]),
            np.array([may_open]),
            np.array([number in visits]),
            np.array([float(days_away)]),
        )
        threshold = thresholds[number] if thresholds else THRESHOLD
        step = churn_transitions(is_open, warned, observation, threshold)
        assert not (step.opened & step.closed).any()
        statuses.append("opened" if step.opened[0] else "closed" if step.closed[0] else "")
        is_open, warned = step.is_open, (warned | step.opened) & (number not in visits)
    return statuses


def test_one_warning_per_absence_and_a_visit_ends_it() -> None:
    """It opens when the threshold is crossed, stays while the probability varies around it, and closes at a visit."""
    assert episode([0.5, 0.85, 0.79, 0.82, 0.9, 0.3], visits=[5]) == ["", "opened", "", "", "", "closed"]
    assert episode([0.5, 0.85, 0.55, 0.85]) == ["", "opened", "closed", ""]


def test_who_has_been_above_the_threshold_for_long_is_no_news() -> None:
    """Neither at the first day of the log, nor when a fit lowers the threshold below a probability of weeks ago."""
    assert episode([0.85, 0.9, 0.95]) == [""] * 3
    assert episode([0.85] * 8 + [0.9], thresholds=[0.9] * 7 + [0.8, 0.8]) == [""] * 9
    assert episode([0.7, 0.85, 0.85], thresholds=[0.9, 0.9, 0.8]) == ["", "", "opened"]


def test_nothing_opens_without_a_rhythm_a_model_or_a_threshold() -> None:
    """An open warning stays open without a threshold, until the visit."""
    assert episode([0.5, 0.9], may_open=False) == [""] * 2
    assert episode([np.nan, np.nan]) == [""] * 2
    assert episode([0.5, 0.9, 0.9, 0.1], thresholds=[None] * 4) == [""] * 4
    assert episode([0.5, 0.9, 0.3, 0.1], [3], thresholds=[0.8, 0.8, None, None]) == ["", "opened", "", "closed"]


def test_severity_follows_the_visits_lost() -> None:
    """A weekly visitor's warning has high severity, that of one who came every two months low."""
    assert [churn_severity(gap, SETTINGS) for gap in (7.0, 14.0, 60.0, None)] == ["high", "medium", "low", "low"]


def predicted_day_by_day(
    visits: Sequence[int], n_days: int, model: ChurnModel | None = MODEL, first_predicted: int = 0
) -> pa.Table:
    """The predictions of one user, day by day; visits are days of the log, whose first day has no prediction before."""
    first = DAY - timedelta(days=n_days)
    log = [first + timedelta(days=number) for number in visits]
    days = [CHURN_PREDICTIONS.empty()]
    for number in range(first_predicted, n_days):
        day = first + timedelta(days=number)
        state = state_of([[visit for visit in log if visit <= day]], day)
        days.append(churn_predictions(state, days[-1], model, NO_HEADS, SETTINGS, day=day, segment="north"))
    return pa.concat_tables(days)


def test_an_absence_is_reported_when_it_is_long_and_when_it_ends() -> None:
    """Weekly visits, three months of absence, a return: one alert, whose id and onset are the same when it closes."""
    visits = [7 * number for number in range(20)]
    predictions = predicted_day_by_day([*visits, 230], 240)
    opened, closed = churn_alerts(predictions, Settings()).to_pylist()
    assert (opened["status"], closed["status"]) == ("opened", "closed")
    assert opened["alert_id"] == closed["alert_id"]
    first = DAY - timedelta(days=240)
    assert opened["onset_day"] == closed["onset_day"] == first + timedelta(days=visits[-1] + 1)
    assert closed["day"] == first + timedelta(days=230)
    rows = {row["day"]: row for row in predictions.to_pylist()}
    before = rows[opened["day"] - timedelta(days=1)]
    assert opened["confidence"] >= THRESHOLD > before["churn_probability"]
    away = (opened["day"] - opened["onset_day"]).days + 1
    assert away == rows[opened["day"]]["days_away"]
    beginning = f"Away for {away} days, since {opened['onset_day']}, usually back after 7 days"
    assert opened["explanation"].startswith(beginning)
    assert closed["explanation"] == f"Back, after being away since {closed['onset_day']}."
    last = predictions.to_pylist()[-1]
    assert (last["warning"], last["warning_opened_day"], last["days_away"]) == (None, None, 9)


def test_the_user_who_stays_away_has_a_row_until_gone() -> None:
    """A row every day; the warning closes after half a year, says so, and the user leaves the table."""
    visits = [7 * number for number in range(20)]
    rows = predicted_day_by_day(visits, visits[-1] + GONE_DAYS + 5).to_pylist()
    assert [row["days_away"] for row in rows[visits[-1] :]] == list(range(GONE_DAYS + 2))
    assert [row["warning"] for row in rows if row["warning"] in {"opened", "closed"}] == ["opened", "closed"]
    last = rows[-1]
    assert last["warning"] == "closed"
    assert churn_sentence(last, "en") == (
        f"Gone: {GONE_DAYS + 1} days without a visit, since {last['away_since']}; no longer watched."
    )


@pytest.mark.parametrize("first_predicted", [185, 250])
def test_users_long_away_on_the_first_day_are_listed_and_not_reported(first_predicted: int) -> None:
    """The table begins while the user is away: no warning opens, now or later."""
    rows = predicted_day_by_day([7 * number for number in range(20)], 300, first_predicted=first_predicted).to_pylist()
    assert rows[0]["churn_probability"] > THRESHOLD
    assert {row["warning"] for row in rows} == {None}


def test_without_a_model_nothing_is_predicted_and_a_visit_closes() -> None:
    """A log too short to fit has no rows; an open warning has one until it closes."""
    assert predicted_day_by_day([0, 7, 14, 21], 100, model=None).num_rows == 0
    before = predicted_day_by_day([7 * number for number in range(20)], 200)
    open_day = before["day"][-1].as_py()
    assert before["warning"][-1].as_py() == "open"
    visits = [DAY - timedelta(days=200 - 7 * number) for number in range(20)]
    for came, warning in ((False, "open"), (True, "closed")):
        day = open_day + timedelta(days=1)
        state = state_of([[*visits, day] if came else visits], day)
        yesterday = before.slice(len(before) - 1)
        (row,) = churn_predictions(state, yesterday, None, NO_HEADS, SETTINGS, day=day, segment="north").to_pylist()
        assert (row["warning"], row["churn_probability"]) == (warning, None)


ROW: dict[str, Any] = {
    "away_since": date(2026, 1, 2),
    "days_away": 16,
    "gap_mean_days": 5.2,
    "churn_probability": 0.824,
    "warning": "opened",
}


@pytest.mark.parametrize(
    ("change", "en", "zh"),
    [
        (
            {},
            "Away for 16 days, since 2026-01-02, usually back after 5 days; 82% likely to stay away for four weeks "
            "more.",
            "自 2026-01-02 起已 16 天未来访,以往平均每 5 天来访一次;今后四周不来的概率为 82%。",
        ),
        (
            {"days_away": 1, "gap_mean_days": 1.1},
            "Away for 1 day, since 2026-01-02, usually back the next day; 82% likely to stay away for four weeks more.",
            "自 2026-01-02 起已 1 天未来访,以往平均每 1 天来访一次;今后四周不来的概率为 82%。",
        ),
        (
            {"warning": "closed"},
            "Over now: away since 2026-01-02, but within the habit.",
            "预警解除:自 2026-01-02 起未来访,仍合其习惯。",
        ),
        (
            {"warning": "closed", "days_away": 200, "churn_probability": None},
            "Gone: 200 days without a visit, since 2026-01-02; no longer watched.",
            "已流失:自 2026-01-02 起 200 天未来访,不再跟踪。",
        ),
    ],
)
def test_the_sentence_says_since_when_and_what_is_usual(change: dict[str, Any], en: str, zh: str) -> None:
    """In both languages."""
    row = {**ROW, **change}
    assert (churn_sentence(row, "en"), churn_sentence(row, "zh")) == (en, zh)
