"""The threshold for a stated precision."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.arrays import BoolArray, Float64Array
from shift_assets.churn.bg_nbd import Visits
from shift_assets.churn.threshold import choose_threshold, may_open, wilson_low


def absences(users: int, slope: float, seed: int) -> tuple[Float64Array, Float64Array, BoolArray, BoolArray]:
    """Sixty days of users whose probability rises from a random day on; outcomes as likely as it times `slope`."""
    random = np.random.default_rng(seed)
    day = np.arange(60)[:, None] - random.integers(0, 60, users)[None, :]
    now, before = (np.clip(0.02 * (day - late), 0.0, 0.999) for late in (0, 1))
    may = day > 0
    return now, before, may, random.random(now.shape) < slope * now


def test_the_warnings_at_the_threshold_kept_the_stated_precision() -> None:
    """Probabilities that are right: close to the stated precision. Too high ones: further up."""
    for slope, low, high in ((1.0, 0.60, 0.75), (0.8, 0.75, 0.95)):
        found = choose_threshold(*absences(4_000, slope, seed=1), precision=0.6)
        assert found.value is not None
        assert low <= found.value <= high
        assert found.precision is not None
        assert found.precision_low is not None
        assert found.precision > found.precision_low >= 0.6


@pytest.mark.parametrize(("users", "slope"), [(4_000, 0.5), (10, 1.0), (0, 1.0)])
def test_where_no_threshold_keeps_it_there_is_none(users: int, slope: float) -> None:
    """Neither with probabilities twice too high, nor with too few past warnings to say."""
    found = choose_threshold(*absences(users, slope, seed=2), precision=0.7)
    assert found.value is None
    assert (found.precision is None) == (found.n_warnings == 0)


def test_a_user_counts_once() -> None:
    """Two warnings of one user in the replayed days are one."""
    now, before = np.array([[0.9], [0.1], [0.9]]), np.array([[0.1], [0.9], [0.1]])
    found = choose_threshold(now, before, now > 0, now > 0, precision=0.7)
    assert (found.value, found.n_warnings, found.precision) == (None, 1, 1.0)


def test_the_interval_is_wilsons() -> None:
    """Against scipy's two-sided interval of 90 %."""
    from scipy.stats import binomtest

    assert wilson_low(0.8, 50) == pytest.approx(binomtest(40, 50).proportion_ci(0.9, "wilson").low)


def test_a_warning_needs_a_rhythm_and_an_absence_that_is_news() -> None:
    """Visits weekly, monthly, weekly but few: away so many days, may a warning open?"""
    visits = Visits(np.array([9.0] * 5 + [2.0]), np.array([63, 63, 63, 270, 270, 14.0]), np.zeros(6))
    away = np.array([0, 56, 57, 90, 91, 20.0])
    observed = Visits(visits.frequency, visits.recency, visits.recency + away)
    assert may_open(observed, minimum_active_days=4).tolist() == [False, True, False, True, False, False]
