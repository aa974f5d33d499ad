"""An open alert is a fact of every day, also of those on which its user stays away."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.churn.model import HeadPredictions, fit_churn
from shift_assets.churn.predictions import churn_predictions
from shift_assets.churn.threshold import WarningThreshold
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.contracts.shift import OPEN_ALERTS
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.open_alert_rows import open_alerts
from shift_assets.shift.alerts.shift_alerts import shift_alerts
from shift_assets.shift.detector.signals import shift_signals
from shift_assets.shift.detector.state import advance_range
from shift_assets.simulate.interest_series import simulated_series
from shift_assets.simulate.simulation import PlantedShares, Simulation
from shift_assets_tests.shift.logs import day, row_of, states_of

pytestmark = pytest.mark.slow

SETTINGS = Settings()
SLOW_TO_CLOSE = Settings(alerts={"close_after_days": 60})
"""Under these, many users have a churn warning while their shift alert is still open."""
SAME = ("alert_id", "kind", "onset_day", "first_onset_day")
THRESHOLD = WarningThreshold(0.6, 100, 0.7, 0.6)
NO_HEADS = HeadPredictions(MODEL_PREDICTIONS.empty())
MUGS, CHRISTMAS = {"kitchen-mug": 6, "wall-art": 2}, {"christmas": 7, "wall-art": 1}
SIMULATION = Simulation(
    users=120, days=90, segments={}, other_segment="all", planted=PlantedShares(abrupt=0.5), events_per_user_day=2.0
)


@pytest.fixture(scope="module")
def log() -> list[tuple[date, pa.Table, pa.Table]]:
    """Each day of a simulated log, whose users leave for good one after the other, with its open alerts and news."""
    series = simulated_series(SIMULATION).series
    days = [SIMULATION.first_day + timedelta(days=number) for number in range(SIMULATION.days)]
    users = pc.unique(series["user_id"]).sort()
    leaves = pa.array([days[30 + number % 60] for number in range(len(users))])
    series = series.filter(pc.less(series["day"], leaves.take(pc.index_in(series["user_id"], value_set=users))))
    states = advance_range(None, series, days, "all", SLOW_TO_CLOSE, p_values_from=date.max)
    found, churn, model = [], CHURN_PREDICTIONS.empty(), None
    for now, state in states:
        churn = churn_predictions(state, churn, model, NO_HEADS, SLOW_TO_CLOSE.churn, day=now, segment="all")
        if now.weekday() == SLOW_TO_CLOSE.schedule.refit_weekday:
            model = fit_churn(state, now, NO_HEADS, SLOW_TO_CLOSE.churn)
            model = model and replace(model, threshold=THRESHOLD)
        news = shift_alerts(state, shift_signals(state, SLOW_TO_CLOSE, churn=churn), SLOW_TO_CLOSE, churn=churn)
        found.append((now, open_alerts(state, SLOW_TO_CLOSE, churn), news))
    return found


def test_the_rows_are_the_alerts_that_opened_and_have_not_closed(log: list[tuple[date, pa.Table, pa.Table]]) -> None:
    """Replayed from the news of every day: by user the shift alert, else the churn warning, with the news' content."""
    replayed: dict[str, dict[str, Any]] = {}
    opened: dict[str, date] = {}
    seen = set()
    for now, rows, news in log:
        for alert in news.to_pylist():
            if alert["status"] == "closed":
                del replayed[alert["alert_id"]]
            else:
                replayed[alert["alert_id"]] = alert
                opened.setdefault(alert["alert_id"], now)
        by_user: dict[str, dict[str, dict[str, Any]]] = {}
        for alert in replayed.values():
            kind = "churn" if alert["kind"] == "churn_risk" else "shift"
            by_user.setdefault(alert["user_id"], {})[kind] = alert
        assert rows["user_id"].to_pylist() == sorted(by_user)
        for row in OPEN_ALERTS.conform(rows).to_pylist():
            alerts = by_user[row["user_id"]]
            shown = alerts.get("shift", alerts.get("churn"))
            assert shown is not None
            assert [row[name] for name in SAME] == [shown[name] for name in SAME]
            assert row["opened_day"] == opened[row["alert_id"]]
            other = alerts.get("churn") if "shift" in alerts else None
            assert row["churn_alert_id"] == (other and other["alert_id"])
            seen.add(tuple(sorted(alerts)))
    assert seen == {("churn",), ("shift",), ("churn", "shift")}


def test_what_rose_and_fell_is_that_of_the_days_news(log: list[tuple[date, pa.Table, pa.Table]]) -> None:
    """On a day with news of an open shift alert, its row says of the categories what `shift_alerts` says."""
    columns = ["alert_id", "rising", "falling", "confidence"]
    compared = 0
    for _, rows, news in log:
        said = news.filter((pc.field("status") != "closed") & (pc.field("kind") != "churn_risk"))
        found = rows.filter(pc.is_in(rows["alert_id"], said["alert_id"].combine_chunks()))
        assert found.select(columns).sort_by("alert_id").to_pylist() == said.select(columns).to_pylist()
        compared += len(said)
    assert compared > 20


def test_an_onset_is_revised_up_to_the_day_on_which_the_alert_opened(
    log: list[tuple[date, pa.Table, pa.Table]],
) -> None:
    """Visits move the estimate of some alerts, never beyond the opening; the first estimate stays with the alert."""
    first: dict[str, date] = {}
    revised = set()
    for now, _, news in log:
        for alert in news.filter(pc.field("kind") != "churn_risk").to_pylist():
            if alert["status"] == "opened":
                assert alert["onset_day"] == alert["first_onset_day"] <= now
                first[alert["alert_id"]] = alert["onset_day"]
            assert alert["first_onset_day"] == first[alert["alert_id"]]
            if alert["onset_day"] != alert["first_onset_day"]:
                revised.add(alert["alert_id"])
                assert "(first estimated " in alert["explanation"]
    assert 0 < len(revised) < len(first)


def test_a_user_who_stays_away_keeps_the_row_until_the_alert_closes() -> None:
    """The row of the last visit is repeated every day, until the alert closes for want of news."""
    visits = [MUGS] * 20 + [CHRISTMAS] * 5
    states = states_of({"ann": [*visits, *[{}] * 40], "bob": [MUGS] * 65}, SETTINGS)
    rows = [row_of(open_alerts(state, SETTINGS), "ann") for state in states]
    held = [number for number, row in enumerate(rows) if row]
    closes = len(visits) - 1 + SETTINGS.alerts.close_after_days
    assert held == list(range(held[0], closes))
    last = rows[len(visits) - 1]
    assert [rows[number] | {"day": last["day"]} for number in range(len(visits), closes)] == [last] * (
        closes - len(visits)
    )
    assert (last["onset_day"], last["rising"][0]["category"]) == (day(20), "christmas")


def test_many_partitions_at_once_equal_each_alone() -> None:
    """All days in one table give the rows of day after day."""
    states = states_of({"ann": [MUGS] * 20 + [CHRISTMAS] * 8, "bob": [MUGS] * 28}, SETTINGS)
    alone = pa.concat_tables([open_alerts(state, SETTINGS) for state in states])
    assert open_alerts(pa.concat_tables(states), SETTINGS) == alone
    assert len(alone) > 3


def test_nobody_with_an_alert_has_no_rows() -> None:
    """A state without open alerts, and no state at all, give an empty table in the contract's columns."""
    (state,) = states_of({"ann": [MUGS]}, SETTINGS)
    for table in (state, state.slice(0, 0)):
        assert open_alerts(table, SETTINGS) == OPEN_ALERTS.empty()
