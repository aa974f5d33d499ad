"""Alerts: when they open and close, their kind, onset and size, and their explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.settings.root import Settings
from shift_assets.shift.alerts.explain import AlertDescription, CategoryChange, explain
from shift_assets.shift.alerts.onset import activity_split_gain, mix_split_gain
from shift_assets.shift.alerts.platform_mix import explained_share
from shift_assets.shift.alerts.shift_alerts import shift_alerts
from shift_assets.shift.detector.signals import shift_signals
from shift_assets_tests.shift.logs import Days, day, series_of, states_of, user_id

pytestmark = pytest.mark.slow

DEFAULT = Settings()
THRESHOLD = Settings(alerts={"detector": "threshold"})
MUGS = {"kitchen-mug": 6, "wall-art": 2}
CHRISTMAS = {"christmas": 7, "wall-art": 1}


def alerts_of(log: Mapping[str, Days], settings: Settings = DEFAULT) -> list[dict[str, Any]]:
    n_days = max(len(days) for days in log.values())
    found: list[dict[str, Any]] = []
    for state in states_of(log, settings, n_days):
        found += SHIFT_ALERTS.conform(shift_alerts(state, shift_signals(state, settings), settings)).to_pylist()
    return found


def test_a_switch_is_one_episode_from_open_to_closed() -> None:
    """A lasting change of taste opens one alert, continues it under the same id, and closes it once it is normal."""
    found = alerts_of({"ann": [MUGS] * 20 + [CHRISTMAS] * 40})
    assert {row["alert_id"] for row in found} == {found[0]["alert_id"]}
    statuses = [row["status"] for row in found]
    assert statuses == ["opened", *["continued"] * (len(found) - 2), "closed"]
    assert len(found) > 3
    assert {row["kind"] for row in found} == {"switch"}
    assert {row["onset_day"] for row in found} == {day(20)}
    assert 1 <= (found[0]["day"] - day(20)).days <= 4
    assert {row["severity"] for row in found} == {"medium"}  # nobody to compare with
    assert found[-1]["explanation"].startswith("Now normal: since 21 Nov mostly christmas")


def test_steady_users_raise_no_alert() -> None:
    """Users who do the same every day, or have too few days to evaluate, never have an alert."""
    assert alerts_of({"ann": [MUGS] * 60, "bob": [MUGS] * 4 + [CHRISTMAS] * 4}) == []


def test_one_odd_day_is_no_alert() -> None:
    """A single day of gifts among steady days opens nothing."""
    assert alerts_of({"ann": [MUGS] * 20 + [{"toys": 4}] + [MUGS] * 20}) == []


def test_the_alert_names_what_rose_and_what_fell() -> None:
    """Rising and falling categories carry the shares before and since the onset, and the sentence says them."""
    opened = alerts_of({"ann": [MUGS] * 20 + [CHRISTMAS] * 8})[0]
    (risen,) = opened["rising"]
    assert (risen["category"], risen["share_before"], risen["share_after"]) == ("christmas", 0, 0.875)
    assert risen["contribution"] == pytest.approx(0.885 * np.log(88.5))
    fallen = opened["falling"][0]
    assert (fallen["category"], fallen["share_before"], fallen["share_after"]) == ("kitchen-mug", 0.75, 0)
    assert opened["magnitude"] == pytest.approx(0.875)
    assert opened["explanation"] == (
        "Since 21 Nov mostly christmas (88 % of interest, up from 0 %), "
        "less kitchen-mug (0 %, down from 75 %) and wall-art (12 %, down from 25 %)."
    )
    chinese = DEFAULT.model_copy(update={"alerts": DEFAULT.alerts.model_copy(update={"language": "zh"})})
    assert alerts_of({"ann": [MUGS] * 20 + [CHRISTMAS] * 8}, chinese)[0]["explanation"].startswith(
        "自11月21日起主要关注 christmas(兴趣占比 88 %,此前 0 %),较少关注 kitchen-mug"
    )


def test_an_alert_closes_by_time_where_the_user_stays_away() -> None:
    """Without renewal the alert closes after the set number of days, once, although nobody came."""
    found = alerts_of({"ann": [MUGS] * 20 + [CHRISTMAS] * 5 + [{}] * 60})
    assert found[-1]["status"] == "closed"
    assert found[-1]["day"] == day(24 + DEFAULT.alerts.close_after_days)
    assert [row["status"] for row in found].count("closed") == 1
    assert found[-1]["explanation"].startswith("Closed, as no further visit confirmed it: from 21 Nov mostly")


def test_more_of_the_same_is_a_surge_and_less_a_fade() -> None:
    """Activity that moves without the mix makes surge or fade, explained in events per day."""
    more, less = {"a": 40, "b": 20}, {"a": 4, "b": 2}
    surge = alerts_of({"ann": [less] * 20 + [more] * 10}, THRESHOLD)
    fade = alerts_of({"ann": [more] * 20 + [less] * 10}, THRESHOLD)
    assert {row["kind"] for row in surge} == {"surge"}
    assert {row["kind"] for row in fade} == {"fade"}
    assert surge[0]["onset_day"] == fade[0]["onset_day"] == day(20)
    assert "more active: 60 events per active day, before 6." in surge[0]["explanation"]


def test_the_kind_of_a_shift_follows_from_what_rose_and_what_fell() -> None:
    """Something on top is a surge, something gone a fade, an exchange a switch, mere volume nothing."""
    steady, more, less = {"a": 4, "b": 4}, {"a": 4, "b": 4, "c": 9}, {"b": 4}
    found = {name: alerts_of({"ann": [steady] * 20 + [new] * 10}) for name, new in (("surge", more), ("fade", less))}
    assert {name: {row["kind"] for row in rows} for name, rows in found.items()} == {
        "surge": {"surge"},
        "fade": {"fade"},
    }
    assert found["surge"][0]["explanation"] == (
        "Since 21 Nov also c (53 % of interest, up from 0 %), in addition to the earlier interests."
    )
    assert found["fade"][0]["explanation"] == (
        "Since 21 Nov less a (0 % of interest, down from 50 %), with nothing new in its place."
    )
    assert alerts_of({"ann": [steady] * 20 + [{"a": 40, "b": 40}] * 20}) == []


def test_the_next_shift_is_measured_against_the_new_normal() -> None:
    """Once the possible starts have passed the onset the alert closes; going back is then a shift of its own."""
    found = alerts_of({"ann": [MUGS] * 20 + [CHRISTMAS] * 20 + [MUGS] * 10})
    opened = [row for row in found if row["status"] == "opened"]
    assert [(row["kind"], row["onset_day"]) for row in opened] == [("switch", day(20)), ("return", day(40))]
    closed = next(row for row in found if row["status"] == "closed")
    assert closed["day"] == day(20 + DEFAULT.evidence.starts - 1)


def test_discoveries_of_a_day_open_alerts_by_that_rule() -> None:
    """By rule `discovery` the user who changed is found among many who did not, and carries a q-value up to q.

    On a day on which nobody changes, about one day in 1/q has a discovery: some steady users may have an alert.
    """
    random = np.random.default_rng(1)
    steady = {f"u{i}": [{"a": int(n), "b": int(m)} for n, m in random.integers(1, 9, (26, 2))] for i in range(30)}
    discovery = Settings(alerts={"rule": "discovery", "false_discovery_rate": 0.05})
    found = alerts_of({**steady, "ann": [MUGS] * 18 + [CHRISTMAS] * 8}, discovery)
    assert len({row["user_id"] for row in found}) <= 4
    opened = next(row for row in found if row["user_id"] == user_id("ann"))
    assert (opened["status"], opened["onset_day"]) == ("opened", day(18))
    assert opened["q_value"] <= discovery.alerts.false_discovery_rate
    assert opened["magnitude_low"] < opened["magnitude"] < opened["magnitude_high"]


def test_a_former_interest_is_a_return() -> None:
    """Categories that were strong before both windows and rise again make a return; unknown ones a switch."""
    years = [CHRISTMAS] * 20 + [MUGS] * 40
    assert alerts_of({"ann": [*years, *[CHRISTMAS] * 8]})[-1]["kind"] == "return"
    assert alerts_of({"ann": [*years, *[{"garden": 8}] * 8]})[-1]["kind"] == "switch"


def test_a_surge_that_changes_its_mix_becomes_a_switch() -> None:
    """An open surge whose mix crosses later keeps its id and becomes a switch."""
    found = alerts_of({"ann": [{"a": 2}] * 20 + [{"a": 30}] * 6 + [{"b": 60}] * 6}, THRESHOLD)
    assert len({row["alert_id"] for row in found}) == 1
    kinds = list(dict.fromkeys(row["kind"] for row in found))
    assert kinds == ["surge", "switch"]
    assert found[-1]["onset_day"] > found[0]["onset_day"]


def test_thresholds_are_set_per_segment() -> None:
    """A threshold that nothing can reach in a segment silences it."""
    quiet = THRESHOLD.alerts.model_copy(update={"per_segment": {"north": {"interest_gap": 10.0, "change_rate": 50.0}}})
    log = {"ann": [MUGS] * 20 + [CHRISTMAS] * 10}
    assert alerts_of(log, DEFAULT.model_copy(update={"alerts": quiet})) == []


def test_a_move_of_everybody_is_the_platforms_share() -> None:
    """A user who moves with the whole segment has platform share 1, one who moves alone 0."""
    move = [MUGS] * 20 + [CHRISTMAS] * 8
    together = alerts_of(dict.fromkeys(("ann", "bob", "cy"), move), THRESHOLD)
    alone = alerts_of({"ann": move, "bob": [MUGS] * 28, "cy": [MUGS] * 28})
    nobody = alerts_of({"ann": move})
    assert together[0]["platform_share"] == pytest.approx(1)
    assert alone[0]["platform_share"] == pytest.approx(0, abs=1e-9)
    assert nobody[0]["platform_share"] is None
    assert alerts_of(dict.fromkeys(("ann", "bob", "cy"), move)) == []  # by evidence a move of everybody is no alert
    assert explained_share(np.array([0.4, -0.4]), np.array([0.1, -0.2])) == pytest.approx(0.375)


def test_many_partitions_at_once_equal_each_alone() -> None:
    """All days in one table give the same alerts as day after day, in the order of days."""
    log = {"ann": [MUGS] * 20 + [CHRISTMAS] * 10, "bob": [{"a": 2}] * 20 + [{"b": 3}] * 10}
    states = pa.concat_tables(states_of(log, DEFAULT))
    assert shift_alerts(states, shift_signals(states, DEFAULT), DEFAULT).to_pylist() == alerts_of(log)


def test_a_day_without_score_changes_nothing() -> None:
    """Days of returns alone score 0; they are active days without evidence about taste."""
    log = {"ann": [MUGS] * 20 + [{"kitchen-mug": 0}] * 8}
    assert series_of(log)["score"].to_pylist()[-1] == 0
    assert [row["kind"] for row in alerts_of(log) if row["kind"] in ("switch", "return")] == []


def test_an_onset_is_the_best_split() -> None:
    """The gain is largest at the day of the change, and no split leaves one odd day."""
    days = np.array([[5, 0], [3, 1], [4, 0], [0, 2], [1, 9], [0, 1]], dtype=float)
    assert int(np.argmax(mix_split_gain(days))) == 3
    assert int(np.argmax(activity_split_gain(np.array([2.0, 3, 2, 9, 8, 10])))) == 3
    assert np.isneginf(mix_split_gain(days)[[0, 1, -1]]).all()


def test_the_year_is_named_where_it_is_not_this_one() -> None:
    """A sentence in January about December names the year; that of a closed alert says why, that of a revised onset
    what was thought at first."""
    description = AlertDescription(
        day=date(2025, 1, 3),
        kind="return",
        ending="faded",
        onset_day=date(2024, 12, 30),
        first_onset_day=date(2024, 12, 30),
        rising=[CategoryChange("toys", 0.1, 0.3)],
        falling=[],
        events_before=1,
        events_after=1,
    )
    assert explain(description, "en") == "Over now: from 30 Dec 2024 back to toys (30 % of interest, up from 10 %)."
    assert explain(description, "zh") == "现已结束:自2024年12月30日起重新关注 toys(兴趣占比 30 %,此前 10 %)。"
    revised = replace(description, ending=None, first_onset_day=date(2025, 1, 2))
    assert explain(revised, "en") == (
        "Since about 30 Dec 2024 (first estimated 2 Jan) back to toys (30 % of interest, up from 10 %)."
    )
    assert explain(revised, "zh") == ("约自2024年12月30日起(最初估计为1月2日)重新关注 toys(兴趣占比 30 %,此前 10 %)。")


def test_an_alert_id_depends_on_its_user_and_day() -> None:
    """Two users with the same move have two alerts."""
    move = [MUGS] * 20 + [CHRISTMAS] * 8
    found = alerts_of({"ann": move, "bob": move})
    names = {(row["user_id"], row["alert_id"]) for row in found}
    assert len(names) == 2
    assert {user for user, _ in names} == {user_id("ann"), user_id("bob")}
