"""The state is a recursion over days."""

from __future__ import annotations

import io
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.settings.root import Settings
from shift_assets.shift.detector.evidence import EvidenceParameters
from shift_assets.shift.detector.signals import shift_signals
from shift_assets.shift.detector.state import advance, advance_range
from shift_assets_tests.shift.logs import SEGMENT, day, row_of, series_of, states_of, user_id

pytestmark = pytest.mark.slow

SMALL = Settings(
    state={"recent_active_days": 2, "reference_active_days": 3},
    evidence=EvidenceParameters(starts=4, posterior_window=3, half_life_active_days=2, minimum_days_before=1),
    signals={"minimum_active_days": 3},
    alerts={"minimum_active_days": 4, "close_after_days": 4},
)
VISIT = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), max_size=3)
LOG = st.dictionaries(st.sampled_from(["ann", "bob", "cy"]), st.lists(VISIT, min_size=1, max_size=10), min_size=1)


@given(LOG)
@hypothesis_settings(max_examples=25, deadline=None)
def test_a_state_saved_and_read_again_gives_the_same_next_state(log: dict[str, list[dict[str, int]]]) -> None:
    """Day by day through Parquet equals the range at once, and both conform to the contract."""
    n_days = max(len(days) for days in log.values())
    saved = None
    for number, direct in enumerate(states_of(log, SMALL, n_days)):
        series = series_of(log).filter(pa.compute.equal(series_of(log)["day"], pa.scalar(day(number))))
        saved = advance(saved, series, day(number), SEGMENT, SMALL)
        file = io.BytesIO()
        pq.write_table(saved, file)
        saved = INTEREST_STATE.conform(pq.read_table(file))
        assert saved.equals(INTEREST_STATE.conform(direct))


@given(LOG, st.randoms())
@hypothesis_settings(max_examples=25, deadline=None)
def test_the_order_of_rows_does_not_matter(log: dict[str, list[dict[str, int]]], random: Random) -> None:
    """Shuffled series and a shuffled state give the same next state."""
    n_days = max(len(days) for days in log.values())
    series = series_of(log)
    order = list(range(len(series)))
    random.shuffle(order)
    state = None
    for number, expected in enumerate(states_of(log, SMALL, n_days)):
        shuffled = series.take(pa.array(order, pa.int64()))
        shuffled = shuffled.filter(pa.compute.equal(shuffled["day"], pa.scalar(day(number))))
        state = advance(state, shuffled, day(number), SEGMENT, SMALL)
        assert state.equals(expected)
        rows = list(range(len(state)))
        random.shuffle(rows)
        state = state.take(pa.array(rows, pa.int64()))


@given(LOG)
@hypothesis_settings(max_examples=25, deadline=None)
def test_recent_days_are_the_last_active_days(log: dict[str, list[dict[str, int]]]) -> None:
    """Recent days are the user's last five active days, oldest first, with their scores and counts."""
    last = states_of(log, SMALL)[-1]
    for name, days in log.items():
        visits = [(day(number), visit) for number, visit in enumerate(days) if visit]
        row = row_of(last, name)
        if not visits:
            assert row == {}
            continue
        assert row["active_days"] == len(visits)
        assert row["last_active_day"] == visits[-1][0]
        held = [(e["day"], {s["category"]: s["score"] for s in e["scores"]}) for e in row["recent_days"]]
        assert held == [(when, {c: float(n) for c, n in visit.items()}) for when, visit in visits[-5:]]
        assert [e["counts"][0] for e in row["recent_days"]] == [sum(v.values()) for _, v in visits[-5:]]
        gaps = np.diff([when.toordinal() for when, _ in visits])
        assert row["gap_count"] == len(gaps)
        assert row["gap_mean_days"] == (pytest.approx(gaps.mean()) if len(gaps) else None)
        assert row["gap_square_mean"] == (pytest.approx((gaps**2).mean()) if len(gaps) else None)


def test_a_user_who_does_not_come_is_carried_unchanged() -> None:
    """On a day without a visit everything of a user stays, except the day of the row and its p- and q-value."""
    states = states_of({"ann": [{"a": 2}, {"b": 1}, {}, {}], "bob": [{"a": 1}] * 4}, SMALL)
    before, after = row_of(states[1], "ann"), row_of(states[3], "ann")
    assert {**before, "day": day(3), "p_value": None, "q_value": None} == after


def test_the_profile_decays_by_active_days() -> None:
    """With a half-life of two active days, a day counts half two visits later, however large it was."""
    states = states_of({"ann": [{"a": 8}, {}, {}, {"b": 1}, {"b": 1}]}, SMALL)
    profile = {w["category"]: w["weight"] for w in row_of(states[-1], "ann")["profile"]}
    assert profile == pytest.approx({"a": 0.5, "b": 1 + 2**-0.5}, abs=1e-3)  # weights are stored on a grid


def test_signals_compare_the_windows_as_defined() -> None:
    """Recent are the last two active days, reference the three before, and shares are of their scores."""
    log = {"ann": [{"x": 9}, {"a": 1}, {"a": 2}, {"a": 1}, {"a": 3, "b": 5}, {"b": 4}], "bob": [{"a": 1}, {"a": 1}]}
    states = states_of(log, SMALL)
    signals = shift_signals(states[-1], SMALL)
    assert signals["user_id"].to_pylist() == [user_id("ann")]
    row = signals.to_pylist()[0]
    assert (row["n_recent"], row["n_reference"]) == (2, 3)
    assert row["change_rate"] == pytest.approx((12 / 2) / (4 / 3) - 1)
    assert row["change_rate_by_behavior"] == [{"behavior": "view", "change_rate": pytest.approx(3.5)}]
    assert row["interest_gap"] == pytest.approx(9 / 12)
    assert row["interest_gap_total"] == pytest.approx(1.5)
    few = row_of(shift_signals(states[1], SMALL), "bob")
    assert few["interest_gap"] is None
    assert few["change_rate_by_behavior"] == []


def test_smoothing_dampens_the_first_day_of_a_shift() -> None:
    """With a half-life, the indicator of the day of a shift lies below the unsmoothed one."""
    smooth = SMALL.model_copy(update={"signals": SMALL.signals.model_copy(update={"ewma_half_life_active_days": 3})})
    log = {"ann": [{"a": 4}] * 5 + [{"b": 4}]}
    raw = row_of(shift_signals(states_of(log, SMALL)[-1], SMALL), "ann")["interest_gap"]
    smoothed = row_of(shift_signals(states_of(log, smooth)[-1], smooth), "ann")["interest_gap"]
    assert 0 < smoothed < raw


def test_a_state_of_another_day_is_refused() -> None:
    """A gap between state and day is an error naming both, and so is a foreign segment."""
    state = states_of({"ann": [{"a": 1}]}, SMALL)[-1]
    with pytest.raises(ValueError, match="2024-11-01, expected 2024-11-02"):
        advance(state, series_of({"ann": [{}]}), day(2), SEGMENT, SMALL)
    with pytest.raises(ValueError, match="segment north, expected south"):
        advance(state, series_of({"ann": [{}]}), day(1), "south", SMALL)


def test_days_without_score_leave_fewer_possible_starts() -> None:
    """Long runs of returns leave fewer possible starts than set; the alert still opens and closes."""
    log = {"ann": [{"a": 4, "b": 2}, *[{"a": 0}] * 4] * 8 + [{"c": 5}, {"c": 4}, {"c": 0}, {"c": 0}] * 12}
    states = states_of(log, Settings(evidence=EvidenceParameters(starts=32, minimum_days_before=2)))
    statuses = [status for state in states for status in state["alert_status"].to_pylist() if status]
    assert statuses[0] == "opened"
    assert statuses[-1] == "closed"


def test_nobody_at_all_is_an_empty_state() -> None:
    """Days without a single user give empty states that conform to the contract."""
    nothing = series_of({"ann": [{}]})
    states = [state for _, state in advance_range(None, nothing, [day(0), day(1)], SEGMENT, SMALL)]
    assert [INTEREST_STATE.conform(state).num_rows for state in states] == [0, 0]
    assert shift_signals(states[0], SMALL).num_rows == 0


def test_users_whose_churn_warning_changes_have_signals_without_coming() -> None:
    """Ann came; Bob's warning opens while he stays away: his row has the probability only. Cid's goes on: no row."""
    state = states_of({"ann": [{"a": 2}] * 6, "bob": [{"a": 2}] * 5, "cid": [{"a": 2}] * 5}, SMALL, 6)[-1]
    warnings = {"ann": None, "bob": "opened", "cid": "open"}
    last = {row["user_id"]: row for row in state.to_pylist()}
    churn = pa.Table.from_pylist(
        [
            {
                "day": day(5),
                "segment": SEGMENT,
                "user_id": user_id(name),
                "last_active_day": last[user_id(name)]["last_active_day"],
                "away_since": day(6),
                "days_away": 1,
                "active_days": 5,
                "churn_probability": 0.25,
                "warning": warning,
            }
            for name, warning in warnings.items()
        ],
        schema=CHURN_PREDICTIONS.schema,
    )
    signals = shift_signals(state, SMALL, churn=churn)
    assert set(signals["user_id"].to_pylist()) == {user_id("ann"), user_id("bob")}
    assert signals["churn_probability"].to_pylist() == [0.25, 0.25]
    bob = row_of(signals, "bob")
    assert (bob["change_rate"], bob["evidence"], bob["n_recent"] > 0) == (None, None, True)
    assert row_of(shift_signals(state, SMALL), "ann")["churn_probability"] is None
