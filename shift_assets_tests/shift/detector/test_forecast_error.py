"""Laws of the forecast detector: its score, that state and histories agree on it, and its calibrated threshold."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.arrays import CategoryCodes
from shift_assets.contracts.partition import days_between
from shift_assets.interest.histories import Histories, histories
from shift_assets.interest.user_days import read_user_days, user_day_categories
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.shift_alerts import shift_alerts
from shift_assets.shift.detector.forecast_error import (
    DAYS,
    HALF_LIFE,
    ForecastError,
    calibrated_threshold,
    newest_errors,
)
from shift_assets.shift.detector.signals import shift_signals
from shift_assets.shift.detector.state import advance_range
from shift_assets_tests.shift.stationary_users import SPAN_DAYS, as_series, stationary_users

pytestmark = pytest.mark.slow

SEGMENT = "north"
SETTINGS = Settings(alerts={"detector": "forecast", "minimum_active_days": 8})
USERS, SWITCHING = 90, "u0007"
SWITCH_DAY, LAST_DAY = 20_000 + 80, 20_000 + SPAN_DAYS - 1


def slow_score(shares: np.ndarray) -> float:
    """The definition on dense shares [day, category] of the newest scored days, the last of them scored."""
    errors = np.array([shares[day] - shares[:day].mean(axis=0) for day in range(1, len(shares))])
    if len(errors) < 3:
        return float("nan")
    weight = 2.0 ** (-np.arange(len(errors))[::-1] / HALF_LIFE)
    smoothed = weight @ errors / weight.sum()
    forecast = shares[:-1].mean(axis=0)
    variance = forecast * (1 - forecast) + 0.1
    standard_error = (weight**2).sum() / weight.sum() ** 2 + 1 / (len(shares) - 1)
    return float(np.sqrt((smoothed**2 / variance)[shares.any(axis=0)].sum() / standard_error))


def switching_log(users: int = USERS) -> pa.Table:
    """Stationary users, one of whom buys nothing but `new` from a day on."""
    series = as_series(stationary_users(users, seed=5, tastes=8, days=(40, 60)))
    day = series["day"].cast(pa.int32())
    switched = pc.and_(pc.equal(series["user_id"], SWITCHING), pc.greater_equal(day, SWITCH_DAY))
    category = pc.if_else(switched, "new", series["category"])
    return series.set_column(series.schema.get_field_index("category"), "category", category)


@pytest.fixture(scope="module")
def states() -> dict[date, pa.Table]:
    """The state of every day."""
    days = days_between(day_of(20_000), day_of(LAST_DAY))
    return dict(advance_range(None, switching_log(), days, SEGMENT, SETTINGS, p_values_from=date.max))


def day_of(number: int) -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + number)


def test_the_score_is_its_definition() -> None:
    """Of every entry of every user, from the newest days up to it."""
    log = stationary_users(6, seed=2)
    score, user_days = ForecastError().score(log), log.user_days
    dense = user_days.dense_share(len(log.codes))
    for entry, user in enumerate(user_days.user):
        first = max(int(user_days.start[user]), entry + 1 - DAYS)
        assert score[entry] == pytest.approx(slow_score(dense[first : entry + 1]), nan_ok=True)


def test_the_state_has_the_score_of_the_histories(states: dict[date, pa.Table]) -> None:
    """Evaluation and alerts have one definition: the held days give what the whole history gives."""
    log: Histories = histories(switching_log())
    newest = log.user_days.start[1:] - 1
    state = states[day_of(LAST_DAY)]
    codes = CategoryCodes(user_day_categories(state["recent_days"]))
    held = read_user_days(state["recent_days"], codes)
    assert state["user_id"].to_pylist() == log.users.to_pylist()
    np.testing.assert_allclose(newest_errors(held, len(codes)), ForecastError().score(log)[newest], rtol=1e-5)


def test_the_user_who_switched_is_alerted(states: dict[date, pa.Table]) -> None:
    """Within a few active days, as a switch to the new category, by this detector; few others are."""
    switch = day_of(SWITCH_DAY)
    later = [state for day, state in states.items() if day >= switch]
    opened = pa.concat_tables([state.filter(pc.equal(state["alert_status"], "opened")) for state in later])
    found = opened.filter(pc.equal(opened["user_id"], SWITCHING)).to_pylist()
    assert [alert["alert_kind"] for alert in found] == ["switch"]
    log = switching_log()
    active = sorted(day.as_py() for day in pc.unique(log.filter(pc.field("user_id") == SWITCHING)["day"]))
    first = next(number for number, day in enumerate(active) if day >= switch)
    assert active.index(found[0]["day"]) - first < 6
    assert abs(active.index(found[0]["alert_onset_day"]) - first) <= 1
    state = states[found[0]["day"]]
    (alert,) = (
        shift_alerts(state, shift_signals(state, SETTINGS), SETTINGS)
        .filter(pc.field("user_id") == SWITCHING)
        .to_pylist()
    )
    assert (alert["detector"], alert["rising"][0]["category"]) == ("forecast", "new")
    assert len(set(opened["user_id"].to_pylist()) - {SWITCHING}) <= 0.1 * USERS


def test_the_threshold_flags_the_stated_share_of_the_past(states: dict[date, pa.Table]) -> None:
    """A larger share has a lower threshold; with fewer users than it takes there is none, and no alert."""
    state = states[day_of(LAST_DAY)]
    thresholds = [
        calibrated_threshold(state, LAST_DAY + 1, Settings(alerts={"forecast_flagged": share}))
        for share in (0.02, 0.1, 0.5)
    ]
    assert np.isfinite(thresholds).all()
    assert thresholds == sorted(thresholds, reverse=True)
    assert calibrated_threshold(state.slice(0, 40), LAST_DAY + 1, Settings()) == np.inf
    assert calibrated_threshold(state, LAST_DAY + 200, Settings()) == np.inf, "nobody came lately"


def test_a_segment_of_few_users_raises_no_alert() -> None:
    """Not even for the user who switched."""
    days = days_between(day_of(20_000), day_of(LAST_DAY))
    for _, state in advance_range(None, switching_log(30), days, SEGMENT, SETTINGS, p_values_from=date.max):
        assert state["alert_id"].null_count == len(state)
