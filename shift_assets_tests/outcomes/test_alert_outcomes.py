"""An alert is confirmed or not by the days after it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.outcomes.alerts import alert_outcomes
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.shift_alerts import shift_alerts
from shift_assets.shift.detector.signals import shift_signals
from shift_assets_tests.shift.logs import Days, series_of, states_of

pytestmark = pytest.mark.slow

SETTINGS = Settings()
THRESHOLD = Settings(alerts={"detector": "threshold"})
MUGS, CHRISTMAS = {"mug": 6, "wall-art": 2}, {"christmas": 7, "wall-art": 1}
LESS, MORE = {"a": 2, "b": 1}, {"a": 40, "b": 20}


def outcome(before: Days, after: Days, settings: Settings = SETTINGS) -> dict[str, Any]:
    """The outcome, after the days `after`, of the alert that opens on the last day of `before`."""
    state = states_of({"ann": before}, settings)[-1]
    alerts = shift_alerts(state, shift_signals(state, settings), settings)
    assert alerts["status"].to_pylist() == ["opened"]
    series = pa.concat_tables([series_of({"ann": before}), series_of({"ann": after}, first=len(before))])
    row: dict[str, Any] = ALERT_OUTCOMES.conform(alert_outcomes(alerts, state, series, settings)).to_pylist()[0]
    return row


def opening(old: dict, new: dict, settings: Settings = SETTINGS) -> list[dict]:
    for length in range(2, 10):
        days = [old] * 20 + [new] * length
        if states_of({"ann": days}, settings)[-1]["alert_status"].to_pylist() == ["opened"]:
            return days
    raise AssertionError("no alert opened")


def test_going_on_confirms_and_going_back_refutes() -> None:
    """Days like the new taste confirm a switch, days like the old one do not."""
    days = opening(MUGS, CHRISTMAS)
    assert outcome(days, [CHRISTMAS] * 3)["confirmed"] is True
    back = outcome(days, [MUGS] * 3)
    assert back["confirmed"] is False
    assert back["log_likelihood_gain"] < 0
    assert back["n_events"] == 24


def test_what_neither_profile_knows_says_nothing() -> None:
    """Events in a category of neither window have gain 0, and so confirm nothing."""
    strange = outcome(opening(MUGS, CHRISTMAS), [{"garden": 5}])
    assert strange["log_likelihood_gain"] == pytest.approx(0)
    assert strange["confirmed"] is False


def test_too_few_events_give_no_outcome() -> None:
    """Below the minimum of events, or after the horizon, the outcome is null; the events are counted."""
    days = opening(MUGS, CHRISTMAS)
    few = outcome(days, [{"christmas": SETTINGS.outcomes.minimum_events - 1}])
    assert (few["confirmed"], few["log_likelihood_gain"]) == (None, None)
    late = outcome(days, [{}] * SETTINGS.outcomes.horizon_days + [CHRISTMAS])
    assert (late["confirmed"], late["n_events"]) == (None, 0)


def test_a_surge_is_evaluated_by_the_number_of_events() -> None:
    """Busy days confirm a surge of activity, quiet ones refute it, whatever the categories; for a fade the reverse."""
    surge, fade = opening(LESS, MORE, THRESHOLD), opening(MORE, LESS, THRESHOLD)
    busy, quiet = [{"c": 60}] * 2, [{"c": 3}] * 2
    assert outcome(surge, busy, THRESHOLD)["confirmed"] is True
    assert outcome(surge, quiet, THRESHOLD)["confirmed"] is False
    assert outcome(fade, quiet, THRESHOLD)["confirmed"] is True
    assert outcome(fade, busy, THRESHOLD)["confirmed"] is False


def test_only_openings_are_evaluated_and_their_users_must_be_known() -> None:
    """A continued alert has no outcome of its own; a state without the user is an error."""
    days = opening(MUGS, CHRISTMAS)
    states = states_of({"ann": [*days, CHRISTMAS]}, SETTINGS)
    alerts = shift_alerts(states[-1], shift_signals(states[-1], SETTINGS), SETTINGS)
    assert alerts["status"].to_pylist() == ["continued"]
    assert alert_outcomes(alerts, states[-1], series_of({"ann": days}), SETTINGS).num_rows == 0
    opened = shift_alerts(states[-2], shift_signals(states[-2], SETTINGS), SETTINGS)
    with pytest.raises(ValueError, match="lacks 1 users"):
        alert_outcomes(opened, states[0].slice(0, 0), series_of({"ann": days}), SETTINGS)
