"""The state with a learned detector in service: whose confidence it holds, and what opens an alert."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.contracts.shift import DETECTOR_SELF_CHECK
from shift_assets.interest.histories import histories
from shift_assets.settings.root import AlertSettings, Settings
from shift_assets.shift.alerts.detector_selection import MODEL_FOLDER, DetectorSelection
from shift_assets.shift.alerts.shift_alerts import shift_alerts
from shift_assets.shift.detector.signals import learned_scores, shift_signals
from shift_assets.shift.detector.state import advance_range
from shift_assets.shift.learned.shift_model import ShiftModel, fit
from shift_assets_tests.shift.stationary_users import as_series, stationary_users

pytestmark = pytest.mark.slow

SETTINGS = Settings()
DAYS = [date(1970, 1, 1) + timedelta(days=number) for number in range(20_000, 20_120)]
MOVED = {f"u{number:04d}" for number in range(15)}
"""Users whose taste is another one on their last twelve active days."""
PATH, DIGEST = f"{MODEL_FOLDER}/north/x", "0" * 64


@pytest.fixture(scope="module")
def model() -> ShiftModel:
    log = stationary_users(150, seed=2, days=(18, 45), tastes=30)
    found = fit(log, 8, seed=1, evidence=SETTINGS.evidence, flagged_share=0.02, n_splice_points=300)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def series() -> pa.Table:
    log = stationary_users(45, seed=9, days=(40, 70), tastes=10)
    user_days = log.user_days
    entry = user_days.score_entry
    moved = (user_days.age[entry] < 12) & (user_days.user[entry] < len(MOVED))
    category = np.where(moved, (user_days.category + 5) % len(log.codes), user_days.category)
    return as_series(replace(log, user_days=replace(user_days, category=category)))


def checks(first: int) -> pa.Table:
    """Checks on every twentieth day from a day on, which chose the learned detector."""
    row = {
        "segment": "north",
        "detector": "learned",
        "active_days": 8,
        "n_users": 50,
        "n_cases": 50,
        "chosen": True,
        "model_path": PATH,
        "model_digest": DIGEST,
        "found_share": 0.8,
        "flagged_share": 0.01,
    }
    rows = [{**row, "day": day} for day in DAYS[first::20]]
    return pa.Table.from_pylist(rows, schema=DETECTOR_SELF_CHECK.schema)


def states_of(
    series: pa.Table, model: ShiftModel | None, settings: Settings = SETTINGS, first: int = 0
) -> list[pa.Table]:
    """The state of every day; the learned detector serves from the day after the first check on.

    Without one there are no p-values, which take long and change nothing else.
    """

    def chosen_model(chosen: DetectorSelection) -> ShiftModel | None:
        return model if (chosen.model_path, chosen.model_digest) == (PATH, DIGEST) else None

    found = checks(first) if model else None
    return [
        state
        for _, state in advance_range(
            None, series, DAYS, "north", settings, checks=found, model_of=chosen_model, p_values_from=DAYS[-1]
        )
    ]


@pytest.fixture(scope="module")
def states(series: pa.Table, model: ShiftModel) -> list[pa.Table]:
    return states_of(series, model)


def active(state: pa.Table) -> pa.Table:
    return state.filter(pc.equal(state["last_active_day"], state["day"]))


def test_the_state_carries_the_scores_of_the_whole_history(series: pa.Table, model: ShiftModel) -> None:
    """Day by day through the state, confidence and p-value are those of the histories at once, up to its grids."""
    quiet = SETTINGS.model_copy(update={"alerts": AlertSettings(detector="threshold")})  # no alert resets the memory
    log = histories(series)
    score = model.score_histories(log, np.arange(len(log.user_days.day)), SETTINGS.evidence)
    users = np.array(log.users.to_pylist())[log.user_days.user].tolist()
    days = [date(1970, 1, 1) + timedelta(days=int(number)) for number in log.user_days.day]
    expected = dict(zip(zip(users, days, strict=True), zip(score.confidence, score.p_value, strict=True), strict=True))
    found = [row for state in states_of(series, model, quiet)[1:] for row in active(state).to_pylist()]
    n_scored = 0
    for row in found:
        confidence, p_value = expected[row["user_id"], row["day"]]
        assert (row["p_value"] is None) == np.isnan(p_value)
        if row["p_value"] is not None:
            n_scored += 1
            assert row["confidence"] == pytest.approx(confidence, abs=0.05)
            assert row["p_value"] == pytest.approx(p_value, abs=0.05)
    assert n_scored > 1_500


def test_an_alert_opens_where_the_confidence_crosses_its_threshold(states: list[pa.Table], model: ShiftModel) -> None:
    """From below, and on every such day of a user without an open alert."""
    threshold = model.threshold_confidence
    before: dict[str, dict] = {}
    n_opened = 0
    for state in states:
        rows = {row["user_id"]: row for row in state.to_pylist()}
        for user, row in rows.items():
            last = before.get(user, {})
            was_open = last.get("alert_status") in ("opened", "continued") or (
                last.get("alert_status") is None and last.get("alert_id") is not None
            )
            came = row["last_active_day"] == row["day"]
            crosses = (row["confidence"] or 0.0) >= threshold > (last.get("confidence") or 0.0)
            if row["alert_status"] == "opened":
                n_opened += 1
                assert crosses
            elif came and crosses:
                assert was_open
        before = rows
    assert n_opened > 5


def test_one_shift_is_one_alert(states: list[pa.Table]) -> None:
    """Nearly all who moved have exactly one, though the confidence stays high; next to none of the others has any."""
    opened = [row["user_id"] for state in states for row in state.to_pylist() if row["alert_status"] == "opened"]
    of_moved = [user for user in opened if user in MOVED]
    assert len(of_moved) == len(set(of_moved)) >= 0.8 * len(MOVED)
    assert len(opened) - len(of_moved) <= 2


def test_an_alert_has_a_q_value_on_its_first_day(series: pa.Table, model: ShiftModel) -> None:
    """What opens it is new on that day, also where the evidence was above its own threshold before."""
    late = replace(model, threshold=model.threshold + 2.0, evidence_threshold=50.0)
    high_before, before = 0, None
    for state in states_of(series, late):
        evidence: dict[str, float | None] = (
            {} if before is None else {row["user_id"]: row["evidence"] for row in before.to_pylist()}
        )
        for row in state.filter(pc.equal(state["alert_status"], "opened")).to_pylist():
            high_before += (evidence[row["user_id"]] or 0.0) >= np.log(SETTINGS.alerts.average_run_length)
            assert row["q_value"] is not None
        before = state
    assert high_before


def test_before_the_first_check_the_evidence_alerts(series: pa.Table, model: ShiftModel) -> None:
    """Until the day of the first check the state is that without a learned detector, and not afterwards."""
    without, late = states_of(series, None), states_of(series, model, first=60)
    for number in range(61):
        assert late[number].equals(without[number])
    assert not late[61].equals(without[61])
    for state in without:
        for row in state.to_pylist():
            if row["alert_status"] == "opened":
                assert row["evidence"] >= np.log(SETTINGS.alerts.average_run_length) - 0.02


def test_by_the_average_run_length_the_evidence_alerts(series: pa.Table, model: ShiftModel) -> None:
    """With a learned detector too, on the same days as without; the confidence is calibrated all the same."""
    settings = SETTINGS.model_copy(update={"alerts": AlertSettings(rule="average_run_length")})
    by_model, without = (states_of(series, one, settings) for one in (model, None))
    for one, other in zip(by_model, without, strict=True):
        assert one["alert_status"].equals(other["alert_status"])
    assert by_model[-1]["confidence"] != without[-1]["confidence"]


def test_signals_have_the_models_score_where_it_scored(states: list[pa.Table]) -> None:
    """Users with a short past have none, though their evidence is there; without a learned detector nobody has."""
    early, late = (shift_signals(state, SETTINGS, [learned_scores(state)]) for state in (states[5], states[110]))
    assert early.num_rows
    assert early["model_shift_score"].null_count > late["model_shift_score"].null_count == 0
    for signals in (early, late):
        for row in signals.to_pylist():
            assert (row["model_shift_score"] is None) == (row["p_value"] is None)
            if row["model_shift_score"] is not None:
                assert row["model_shift_score"] == row["confidence"]
    assert shift_signals(states[110], SETTINGS)["model_shift_score"].null_count == late.num_rows


def test_alerts_say_what_their_threshold_finds_and_flags(states: list[pa.Table]) -> None:
    """By the newest self-check before the day; null without one."""
    state = next(state for state in states if "opened" in state["alert_status"].to_pylist())
    signals = shift_signals(state, SETTINGS, [learned_scores(state)])
    for found, expected in (
        (shift_alerts(state, signals, SETTINGS, checks(0)), ("learned", 0.8, 0.01)),
        (shift_alerts(state, signals, SETTINGS), ("posterior", None, None)),
    ):
        assert found.num_rows
        for row in found.to_pylist():
            assert (row["ranking"], row["found_share"], row["flagged_share"]) == expected
            assert row["ranking_score"] == row["confidence"]
