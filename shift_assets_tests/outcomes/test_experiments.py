"""Intervals valid on one day, and one valid on all days; biased assignments are detected."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from shift_assets.contracts.outcomes import EXPERIMENT_REPORT
from shift_assets.outcomes.experiments import USER_OUTCOMES, experiment_report, period_start
from shift_assets.outcomes.sequential_test import (
    Difference,
    adaptive_ratio_p_value,
    difference,
    fixed_horizon_interval,
    log_likelihood_ratio,
    sample_ratio_p_value,
    sequential,
    sequential_width,
)
from shift_assets.settings.root import ExperimentSettings

FIRST = period_start(date(2026, 3, 15), 28)
SCALE = 0.1
ALPHA = 0.05


def daily_differences_of(random: np.random.Generator, effect: float, days: int, sticky: float) -> list[Difference]:
    """Daily differences of 120 users a side who stay and click daily; `sticky` is the spread of their own rates."""
    sides = []
    for shift in (effect, 0.0):
        rate = np.clip(random.normal(0.3, sticky, 120) + shift, 0, 1)
        sides.append(np.cumsum(random.random((days, 120)) < rate, axis=0).astype(float))
    found = []
    for day in range(days):
        exposure = np.full(120, day + 1.0)
        day_difference = difference((sides[0][day], sides[1][day]), (exposure, exposure))
        assert day_difference is not None
        found.append(day_difference)
    return found


@pytest.mark.parametrize("sticky", [0.0, 0.15])
def test_without_a_difference_only_the_fixed_horizon_test_is_inflated_by_daily_peeking(sticky: float) -> None:
    """Of 300 experiments without a difference, tested on 60 days, the sequential test rejects in at most 5 %."""
    random = np.random.default_rng(4)
    sequentially = plainly = 0
    for _ in range(300):
        daily_differences = daily_differences_of(random, 0.0, 60, sticky)
        sequentially += sequential(daily_differences, SCALE).p_value <= ALPHA
        plainly += any(not low <= 0 <= high for low, high in map(fixed_horizon_interval, daily_differences))
    assert sequentially / 300 <= ALPHA
    if not sticky:  # users who hardly differ: each day is nearly a new throw of the dice
        assert plainly / 300 > 3 * ALPHA
    assert plainly > sequentially


def test_a_difference_is_found_and_lies_inside_both_intervals() -> None:
    """An effect of 0.08 is found in most of 60 experiments, and its intervals cover it about as often as they say."""
    random = np.random.default_rng(5)
    found = covered = ever = 0
    for _ in range(60):
        daily_differences = daily_differences_of(random, 0.08, 30, 0.05)
        found += sequential(daily_differences, SCALE).p_value <= ALPHA
        low, high = fixed_horizon_interval(daily_differences[-1])
        covered += low <= 0.08 <= high
        ever += all(
            abs(day_difference.value - 0.08) <= sequential_width(day_difference.standard_error, SCALE)
            for day_difference in daily_differences
        )
    assert found >= 50
    assert covered >= 52
    assert ever >= 57


@settings(deadline=None, max_examples=60)
@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.3), st.floats(0.005, 0.5))
def test_interval_and_test_say_the_same(value: float, standard_error: float, scale: float) -> None:
    """0 lies outside the sequential interval exactly where the p-value of the day is below 5 %."""
    day_difference = Difference(value, standard_error)
    outside = abs(value) > sequential_width(standard_error, scale)
    assert outside == (np.exp(-log_likelihood_ratio(day_difference, scale)) < ALPHA)
    low, high = fixed_horizon_interval(day_difference)
    assert sequential_width(standard_error, scale) > (high - low) / 2


def test_the_mixture_is_the_ratio_of_its_densities() -> None:
    """N(0, se² + scale²) over N(0, se²), at the difference seen."""
    day_difference = Difference(0.07, 0.02)
    expected = norm.logpdf(0.07, scale=np.hypot(0.02, 0.05)) - norm.logpdf(0.07, scale=0.02)
    assert log_likelihood_ratio(day_difference, 0.05) == pytest.approx(expected)


def test_the_standard_error_counts_users_not_lists() -> None:
    """Users repeated ten times over are no new evidence; ten times as many users are."""
    random = np.random.default_rng(0)
    clicks = (random.random(400) < 0.3).astype(float)
    one, ten = np.ones(400), np.full(400, 10.0)
    plain = difference((clicks, clicks[::-1]), (one, one))
    repeated = difference((10 * clicks, 10 * clicks), (ten, ten))
    assert plain is not None
    assert repeated is not None
    assert repeated.standard_error == pytest.approx(plain.standard_error)
    assert plain.standard_error == pytest.approx(np.sqrt(2 * clicks.var(ddof=1) / 400))


def test_no_data_excludes_nothing() -> None:
    assert difference((np.zeros(3), np.zeros(3)), (np.ones(3), np.zeros(3))) is None
    assert sequential([Difference(0.0, 0.0)], SCALE) == (-np.inf, np.inf, 1.0)
    with pytest.raises(ValueError, match="one day"):
        sequential([], SCALE)


def test_a_sample_ratio_mismatch_is_detected() -> None:
    shares = {"a": 0.5, "b": 0.5}
    assert sample_ratio_p_value({"a": 5000, "b": 5050}, shares) == pytest.approx(0.618, abs=0.01)
    assert (sample_ratio_p_value({"a": 5000, "b": 5500}, shares) or 1) < 1e-5
    assert (sample_ratio_p_value({"a": 500}, shares) or 1) < 1e-5
    assert sample_ratio_p_value({"a": 5}, {"a": 1.0}) is None
    assert sample_ratio_p_value({"a": 500, "b": 500, "c": 5}, shares) == 0


def outcomes(effect: float, users: int = 400, days: int = 10, first: date = FIRST) -> pa.Table:
    random = np.random.default_rng(7)
    policy = np.where(np.arange(users) % 2, "shift_adjusted", "unadjusted")
    rate = 0.3 + effect * (policy == "shift_adjusted")
    rows = [
        {
            "day": first + timedelta(days=ago),
            "user_id": f"{user:032x}",
            "policy": policy[user],
            "propensity": 0.5,
            "clicked": bool(random.random() < rate[user]),
            "purchased": bool(random.random() < 0.05),
            "recall_at_k": float(random.random() < rate[user]) if random.random() < 0.5 else None,
        }
        for ago in range(days)
        for user in range(users)
    ]
    return pa.Table.from_pylist(rows, schema=USER_OUTCOMES)


EXPERIMENT = ExperimentSettings(shares={"shift_adjusted": 0.5, "unadjusted": 0.5}, period_days=28)
TODAY = FIRST + timedelta(days=16)
LAST_RECOMMENDATION_DAY = FIRST + timedelta(days=9)


def test_the_report_finds_what_differs_and_only_that() -> None:
    rows = experiment_report(outcomes(0.15), TODAY, "uk", LAST_RECOMMENDATION_DAY, EXPERIMENT)
    assert EXPERIMENT_REPORT.conform(rows).equals(rows)
    found = {row["metric"]: row for row in rows.to_pylist()}
    assert set(found) == {"click_rate", "purchase_rate", "recall_at_k"}
    click = found["click_rate"]
    assert (click["policy"], click["baseline"]) == ("shift_adjusted", "unadjusted")
    assert (click["users"], click["baseline_users"]) == (200, 200)
    assert click["sequential_low"] > 0
    assert click["difference_low"] < 0.15 < click["difference_high"]
    assert click["sequential_p_value"] < 0.001
    assert click["sample_ratio_p_value"] == pytest.approx(1.0)
    assert click["period_start"] == FIRST
    assert found["purchase_rate"]["sequential_low"] < 0 < found["purchase_rate"]["sequential_high"]


def test_the_report_knows_its_period_and_no_order_of_rows() -> None:
    """Recommendations before the period or after its last day change nothing, nor does the order of rows."""
    own = outcomes(0.1)
    others = [outcomes(-0.3, first=FIRST - timedelta(days=12)), outcomes(-0.3, first=FIRST + timedelta(days=10))]
    mixed = pa.concat_tables([own, *others])
    shuffled = mixed.take(pa.array(np.random.default_rng(0).permutation(len(mixed))))
    expected = experiment_report(own, TODAY, "uk", LAST_RECOMMENDATION_DAY, EXPERIMENT)
    assert experiment_report(shuffled, TODAY, "uk", LAST_RECOMMENDATION_DAY, EXPERIMENT).equals(expected)


def test_adaptive_assignment_does_not_confound_the_difference() -> None:
    """Eager users are assigned to one arm nine times out of ten, calm ones to the other; no arm does anything.

    Plain rates would praise the arm of the eager ones; weighed by the odds there is no difference.
    """
    random = np.random.default_rng(3)
    rows = []
    for number in range(4_000):
        eager = number % 2 == 0
        probability = 0.9 if eager else 0.1
        adjusted = random.random() < probability
        rows.append(
            {
                "day": FIRST,
                "user_id": f"{number:032x}",
                "policy": "shift_adjusted" if adjusted else "unadjusted",
                "propensity": probability if adjusted else 1 - probability,
                "clicked": bool(random.random() < (0.7 if eager else 0.2)),
                "purchased": False,
                "recall_at_k": None,
            }
        )
    learning = EXPERIMENT.model_copy(update={"learning": "thompson"})
    table = pa.Table.from_pylist(rows, schema=USER_OUTCOMES)
    found = {
        row["metric"]: row
        for row in experiment_report(table, TODAY, "uk", LAST_RECOMMENDATION_DAY, learning).to_pylist()
    }
    assert found["click_rate"]["difference_low"] < 0 < found["click_rate"]["difference_high"]
    assert abs(found["click_rate"]["difference"]) < 0.06
    assert found["recall_at_k"]["difference"] is None


def test_few_users_get_a_note_and_no_outcomes_no_rows() -> None:
    few = experiment_report(outcomes(0.1, users=80), TODAY, "uk", LAST_RECOMMENDATION_DAY, EXPERIMENT).to_pylist()
    assert {row["note"] for row in few} == {"fewer than 50 users on a side; nothing is compared"}
    assert {row["difference"] for row in few} == {None}
    assert (
        experiment_report(USER_OUTCOMES.empty_table(), TODAY, "uk", LAST_RECOMMENDATION_DAY, EXPERIMENT).num_rows == 0
    )


def test_a_sample_ratio_mismatch_suppresses_the_differences() -> None:
    """Where three quarters were meant and half came, the report says that and no more."""
    meant = EXPERIMENT.model_copy(update={"shares": {"shift_adjusted": 0.75, "unadjusted": 0.25}})
    for row in experiment_report(outcomes(0.15), TODAY, "uk", LAST_RECOMMENDATION_DAY, meant).to_pylist():
        assert row["sample_ratio_p_value"] < 1e-6
        assert row["difference"] is row["sequential_low"] is None
        assert row["note"] == "users did not come to the policies by their shares; no difference can be trusted"


def test_a_sample_ratio_mismatch_is_detected_under_adaptive_shares() -> None:
    """Fair assignments give small p-values as rarely as they should; wrong propensities give them at once."""
    random = np.random.default_rng(6)
    probability = random.choice([0.1, 0.5, 0.9], 3_000)
    found = []
    for _ in range(200):
        policy = (random.random(3_000) < probability).astype(np.int64)
        found.append(adaptive_ratio_p_value(policy, np.where(policy == 1, probability, 1 - probability)))
    assert 0.005 <= np.mean(np.array(found) < 0.05) <= 0.1
    unfair = (random.random(3_000) < 0.8 * probability).astype(np.int64)
    assert (adaptive_ratio_p_value(unfair, np.where(unfair == 1, probability, 1 - probability)) or 1) < 0.001
    assert adaptive_ratio_p_value(np.zeros(5, np.int64), np.ones(5)) is None
    learning = EXPERIMENT.model_copy(update={"learning": "thompson"})
    for row in experiment_report(outcomes(0.1), TODAY, "uk", LAST_RECOMMENDATION_DAY, learning).to_pylist():
        assert row["sample_ratio_p_value"] == pytest.approx(1.0)


def test_periods_follow_each_other() -> None:
    assert period_start(FIRST + timedelta(days=27), 28) == FIRST
    assert period_start(FIRST + timedelta(days=28), 28) == FIRST + timedelta(days=28)
