"""The three indicators equal their definitions."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from shift_assets.shift.detector.indicators import change_rate, distribution_distance, ewma, interest_gap

Pairs = list[tuple[float, float]]
"""Recent and reference score of each category."""

SCORES = st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), min_size=1, max_size=12).filter(
    lambda pairs: sum(p[0] for p in pairs) > 1e-3 and sum(p[1] for p in pairs) > 1e-3
)


def measured(pairs: Pairs, smoothing: float = 0.5) -> tuple[float, float, float]:
    recent, reference = (np.array(side) for side in zip(*pairs, strict=True))
    user = np.zeros(len(pairs), dtype=np.int64)
    largest, total = interest_gap(recent / recent.sum(), reference / reference.sum(), user, 1)
    return float(largest[0]), float(total[0]), float(distribution_distance(recent, reference, user, 1, smoothing)[0])


@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_distribution_distance_is_scipys_jensen_shannon_distance_of_the_smoothed_shares(
    pairs: Pairs,
) -> None:
    """The distance equals an independent implementation, base 2, on scores plus the pseudo-count."""
    recent, reference = (np.array(side) + 0.5 for side in zip(*pairs, strict=True))
    with np.errstate(invalid="ignore"):  # SciPy takes the root of -1e-17 where both sides are the same
        expected = np.nan_to_num(jensenshannon(recent, reference, base=2))
    assert measured(pairs)[2] == pytest.approx(expected, abs=1e-6)


@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_indicators_are_bounded(pairs: Pairs) -> None:
    """Gap and distance lie in 0..1, the total gap in 0..2 and between once and K times the largest gap."""
    largest, total, distance = measured(pairs)
    assert 0 <= largest <= 1 and 0 <= distance <= 1 and 0 <= total <= 2  # noqa: PT018
    assert largest - 1e-9 <= total <= len(pairs) * largest + 1e-9


@given(SCORES)
@settings(max_examples=40, deadline=None)
def test_identical_windows_have_indicators_of_zero(pairs: Pairs) -> None:
    """Two windows with the same scores have gap and distance 0."""
    same = [(score, score) for score, _ in pairs]
    assert measured(same) == pytest.approx((0, 0, 0), abs=1e-7)


@given(SCORES, st.randoms())
@settings(max_examples=40, deadline=None)
def test_names_of_categories_do_not_matter(pairs: Pairs, random: Random) -> None:
    """Renaming, and so reordering, categories changes no indicator; neither does swapping the windows."""
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert measured(shuffled) == pytest.approx(measured(pairs), abs=1e-6)
    assert measured([(b, a) for a, b in pairs]) == pytest.approx(measured(pairs), abs=1e-6)


def test_users_are_independent_of_each_other() -> None:
    """Many users at once get what each gets alone; a user without score in a window gets nan."""
    recent, reference = np.array([3.0, 1.0, 0.0, 5.0]), np.array([1.0, 3.0, 0.0, 5.0])
    user = np.array([0, 0, 2, 3])
    distance = distribution_distance(recent, reference, user, 4, 0.5)
    assert distance[0] == pytest.approx(measured([(3.0, 1.0), (1.0, 3.0)])[2])
    assert np.isnan(distance[1:3]).all()
    assert distance[3] == 0
    with np.errstate(invalid="ignore"):
        largest, total = interest_gap(np.array([0.75, 0.25, np.nan, 1.0]), np.array([0.25, 0.75, np.nan, 1.0]), user, 4)
    np.testing.assert_allclose(largest, [0.5, np.nan, np.nan, 0])
    np.testing.assert_allclose(total, [1.0, np.nan, np.nan, 0])


def test_change_rate_is_relative_to_the_reference_mean_per_day() -> None:
    """14 events in 7 days against 28 in 28 is +100 %; a reference without the behaviour gives no rate."""
    days = np.array([7]), np.array([28])
    assert change_rate(np.array([14.0]), np.array([28.0]), *days) == pytest.approx([1.0])
    assert change_rate(np.array([0.0]), np.array([28.0]), *days) == pytest.approx([-1.0])
    assert np.isnan(change_rate(np.array([3.0]), np.array([0.0]), *days)).all()


def test_ewma_halves_an_old_value_after_its_half_life() -> None:
    """After as many active days as the half-life, half of the first value is left; without one, nothing is."""
    value = np.array([1.0])
    for _ in range(4):
        value = ewma(value, np.array([0.0]), 4)
    assert value == pytest.approx([0.5])
    assert ewma(np.array([1.0]), np.array([0.25]), None) == [0.25]
    assert ewma(np.array([np.nan]), np.array([0.25]), 4) == [0.25]
