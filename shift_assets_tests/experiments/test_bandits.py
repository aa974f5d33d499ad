"""Bandits learn from the past only, and keep to the bounds of the settings."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.experiments.bandits import (
    Cell,
    arm_shares,
    assign_arms,
    bounded,
    gather_evidence,
    linear_ucb,
    probability_of_best,
    thompson,
)
from shift_assets.settings.root import ExperimentSettings

DAY = date(2026, 3, 1)
ARMS = ("exploring", "shift_adjusted", "unadjusted")
CALM, SWITCH = Cell("uk", "no_shift"), Cell("uk", "switch")
SHARES = {"exploring": 0.1, "shift_adjusted": 0.5, "unadjusted": 0.4}
Learning = Literal["fixed", "thompson", "linucb"]


def experiment(learning: Learning = "thompson", **more: Any) -> ExperimentSettings:
    return ExperimentSettings(shares=SHARES, learning=learning, **more)


def outcomes(rates: dict[tuple[Cell, str], float], users: int = 200, days: range = range(1, 15)) -> pa.Table:
    """`recommendation_outcomes` of `days` before DAY in which each arm has its rate of successes."""
    rows = []
    for ago in days:
        for segment in sorted({cell.segment for cell, _ in rates}):
            for arm in ARMS:
                parts = [
                    {
                        "shift_kind": cell.shift_kind,
                        "users": users,
                        "clicked": round(users * rate),
                        "purchased": round(users * (1 - rate)),
                    }
                    for (cell, own), rate in rates.items()
                    if own == arm and cell.segment == segment
                ]
                rows.append(
                    {
                        "day": DAY - timedelta(days=ago),
                        "segment": segment,
                        "policy": arm,
                        "horizon_days": 7,
                        "k": 20,
                        "users": users,
                        "by_shift_kind": parts,
                        "explored": [],
                    }
                )
    return pa.Table.from_pylist(rows, schema=RECOMMENDATION_OUTCOMES.schema)


RATES = {
    (CALM, "exploring"): 0.10,
    (CALM, "shift_adjusted"): 0.10,
    (CALM, "unadjusted"): 0.30,
    (SWITCH, "exploring"): 0.15,
    (SWITCH, "shift_adjusted"): 0.35,
    (SWITCH, "unadjusted"): 0.10,
}


@pytest.mark.parametrize("learning", ["thompson", "linucb"])
def test_each_kind_of_shift_gets_its_best_arm(learning: Learning) -> None:
    """Unadjusted is best for users without an alert and worst for a switch; the other arms keep their minimum."""
    found = arm_shares(outcomes(RATES), DAY, [CALM, SWITCH], experiment(learning))
    assert max(found[SWITCH], key=found[SWITCH].__getitem__) == "shift_adjusted"
    assert found[SWITCH]["unadjusted"] == pytest.approx(0.05, abs=0.01)
    if learning == "thompson":  # a linear model has no interaction of arm, segment and kind when cells are two
        assert found[CALM]["unadjusted"] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("learning", ["thompson", "linucb"])
def test_the_reward_is_what_the_settings_say(learning: Learning) -> None:
    """Where purchases are the opposite of clicks, another arm is the best for purchases."""
    found = arm_shares(outcomes(RATES), DAY, [SWITCH], experiment(learning, reward="purchased"))[SWITCH]
    assert max(found, key=found.__getitem__) != "shift_adjusted"


@pytest.mark.parametrize("learning", ["thompson", "linucb"])
def test_nothing_of_today_or_later_is_read(learning: Learning) -> None:
    """Rows of the day itself and after change nothing, however many users they count."""
    past = outcomes(RATES)
    loud = outcomes({key: 1.0 - rate for key, rate in RATES.items()}, users=100_000, days=range(-3, 1))
    asked = [CALM, SWITCH, Cell("france", "fade")]
    assert arm_shares(pa.concat_tables([loud, past]), DAY, asked, experiment(learning)) == arm_shares(
        past, DAY, asked, experiment(learning)
    )


def test_outcomes_are_discounted_and_divided_by_the_horizon() -> None:
    """A row of a half-life ago weighs half of yesterday's; an event in the horizon of seven days counts once."""
    settings_ = experiment(half_life_days=10)
    rows = outcomes({(CALM, "unadjusted"): 0.5}, users=70, days=range(1, 12, 10))
    evidence = gather_evidence(rows, DAY, [CALM], settings_)
    column = evidence.arms.index("unadjusted")
    assert evidence.users[0, column] == pytest.approx(10 * 1.5)
    assert evidence.successes[0, column] == pytest.approx(5 * 1.5)
    assert evidence.squared[0, column] == pytest.approx(10 * 1.25)


def test_a_short_half_life_follows_a_change_of_the_best_arm() -> None:
    """Forty days of one best arm, ten of another: a short half-life prefers the new one, a long one the old."""
    changed = {(SWITCH, "exploring"): 0.1, (SWITCH, "shift_adjusted"): 0.1, (SWITCH, "unadjusted"): 0.3}
    before = {(SWITCH, "exploring"): 0.1, (SWITCH, "shift_adjusted"): 0.3, (SWITCH, "unadjusted"): 0.1}
    log = pa.concat_tables([outcomes(before, days=range(11, 51)), outcomes(changed, days=range(1, 11))])
    short = arm_shares(log, DAY, [SWITCH], experiment(half_life_days=4))[SWITCH]
    long = arm_shares(log, DAY, [SWITCH], experiment(half_life_days=400))[SWITCH]
    assert short["unadjusted"] > 0.8
    assert long["shift_adjusted"] > 0.8


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(0.5, 300), st.floats(0.5, 300)), min_size=1, max_size=5), st.integers(0, 99))
def test_the_probability_of_being_best_is_that_of_many_draws(parameters: list[tuple[float, float]], seed: int) -> None:
    successes, failures = (np.array(side) for side in zip(*parameters, strict=True))
    draws = np.random.default_rng(seed).beta(successes, failures, size=(20_000, len(successes)))
    counted = np.bincount(draws.argmax(axis=1), minlength=len(successes)) / len(draws)
    assert probability_of_best(successes, failures) == pytest.approx(counted, abs=0.03)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda row: sum(row) > 0.1), min_size=1),
    st.floats(0, 0.2),
    st.floats(0.2, 1),
)
def test_shares_keep_their_bounds(rows: list[list[float]], minimum: float, maximum: float) -> None:
    """Every arm has its minimum, exploring no more than its maximum, and the shares sum to 1."""
    shares = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    clipped = bounded(shares, ARMS, minimum, maximum)
    assert clipped.sum(axis=1) == pytest.approx(1)
    assert (clipped >= minimum - 1e-9).all()
    assert (clipped[:, 0] <= maximum + 1e-9).all()


def test_bounds_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ValueError, match="more than everybody"):
        bounded(np.full((1, 3), 1 / 3), ARMS, 0.4, 0.5)
    with pytest.raises(ValueError, match="above the maximum"):
        bounded(np.full((1, 3), 1 / 3), ARMS, 0.1, 0.05)


@pytest.mark.parametrize("learning", ["thompson", "linucb"])
def test_without_a_past_all_arms_are_equal(learning: Learning) -> None:
    """Equal shares, except for the cap on exploring; fixed shares do not read the past at all."""
    nothing = RECOMMENDATION_OUTCOMES.empty()
    found = arm_shares(nothing, DAY, [CALM], experiment(learning))[CALM]
    assert found == pytest.approx({"exploring": 0.2, "shift_adjusted": 0.4, "unadjusted": 0.4}, abs=1e-6)
    assert arm_shares(outcomes(RATES), DAY, [CALM], experiment("fixed"))[CALM] == SHARES


def test_an_unseen_cell_borrows_from_its_row_and_column() -> None:
    """France never had a switch: LinUCB estimates it from other segments' switches and from France's other users."""
    france = Cell("france", "no_shift")
    seen = RATES | {(france, arm): RATES[CALM, arm] for arm in ARMS}
    evidence = gather_evidence(outcomes(seen), DAY, [Cell("france", "switch")], experiment("linucb"))
    unseen = evidence.cells.index(Cell("france", "switch"))
    assert evidence.users[unseen].sum() == 0
    assert linear_ucb(evidence)[unseen].argmax() == evidence.arms.index("shift_adjusted")


def test_little_evidence_is_shrunk_to_the_overall_rate() -> None:
    """One success does not give an arm a cell that all other cells contradict."""
    many = outcomes(
        {
            (Cell("uk", kind), arm): rate
            for kind in ("fade", "surge")
            for arm, rate in (("exploring", 0.1), ("shift_adjusted", 0.1), ("unadjusted", 0.3))
        },
        users=300,
    )
    lucky = outcomes({(SWITCH, "shift_adjusted"): 1.0}, users=1, days=range(1, 2))
    evidence = gather_evidence(pa.concat_tables([many, lucky]), DAY, [SWITCH], experiment())
    assert thompson(evidence)[evidence.cells.index(SWITCH)].argmax() == evidence.arms.index("unadjusted")


def alert(user: str, kind: str, status: str = "opened") -> dict[str, object]:
    return {
        "day": DAY,
        "segment": "uk",
        "alert_id": f"{kind}".encode().hex().rjust(32, "0"),
        "user_id": user,
        "status": status,
        "kind": kind,
        "severity": "low",
        "magnitude": 0.5,
        "onset_day": DAY,
        "rising": [],
        "falling": [],
        "explanation": "because",
        "detector": "e_value",
    }


def test_users_are_assigned_by_the_shares_of_their_kind_of_shift() -> None:
    """Switched users get the best arm of switches; the others, one with a closed alert too, that of no shift."""
    users = [f"{number:032x}" for number in range(3_000)]
    switched, closed = set(users[:1_500]), set(users[1_500:2_000])
    alerts = pa.Table.from_pylist(
        [alert(user, "switch") for user in switched] + [alert(user, "fade", "closed") for user in closed],
        schema=SHIFT_ALERTS.schema,
    )
    assignment = assign_arms(users, "uk", DAY, alerts=alerts, outcomes=outcomes(RATES), settings=experiment())
    names = np.array(assignment.names)
    assert (names[:1_500] == "shift_adjusted").mean() == pytest.approx(0.9, abs=0.04)
    assert (names[1_500:] == "unadjusted").mean() == pytest.approx(0.9, abs=0.04)
    assert assignment.propensities[names == "exploring"] == pytest.approx(0.05, abs=0.01)
    fixed = assign_arms(users, "uk", DAY, alerts=alerts, outcomes=outcomes(RATES), settings=experiment("fixed"))
    assert (np.array(fixed.names) == "shift_adjusted").mean() == pytest.approx(0.5, abs=0.04)
