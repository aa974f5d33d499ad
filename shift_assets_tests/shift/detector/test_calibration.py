"""p- and q-values: uniform where nothing changed, small where something did, one family over weeks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from shift_assets.arrays import Float64Array
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.calibration import NullSample, permutation_null, q_values
from shift_assets.shift.detector.evidence import trace_user_days
from shift_assets_tests.shift.detector.test_evidence import TASTES, population

SETTINGS = EvidenceSettings()
P_VALUES = st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=30).map(np.array)


def test_p_values_of_steady_users_are_valid() -> None:
    """Of users who did not change at most about x have a p-value up to x, for every x that matters."""
    user_days = population(TASTES, 28, seed=11)
    null = permutation_null(user_days, 8, SETTINGS, [1], n_histories=1000)
    p = null.p_values(trace_user_days(user_days, 8, SETTINGS).log_e[user_days.start[1:] - 1])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / len(p))
    assert 0.4 < np.median(p) < 0.7


def test_p_values_of_users_who_changed_are_small() -> None:
    """Six days of another taste after thirty give most users a p-value below one in a hundred."""
    days = np.repeat(TASTES[:, None, :], 34, axis=1)
    days[:40, 28:] = np.roll(days[:40, 28:], 4, axis=2)
    user_days = population(days, 34, seed=12)
    null = permutation_null(user_days, 8, SETTINGS, [1], n_histories=1000)
    p = null.p_values(trace_user_days(user_days, 8, SETTINGS).log_e[user_days.start[1:] - 1])
    moved = np.abs(TASTES[:40] - np.roll(TASTES[:40], 4, axis=1)).sum(axis=1) / 2 > 0.6
    assert (p[:40][moved] < 0.01).mean() > 0.8
    assert 0 < null.onset_share < 1


def test_the_same_seed_gives_the_same_null() -> None:
    """Two nulls of one seed are equal, of another seed not; without users there is none."""
    user_days = population(TASTES[:50], 20, seed=13)
    one, same, other = (permutation_null(user_days, 8, SETTINGS, [seed]) for seed in (1, 1, 2))
    assert np.array_equal(one.statistic, same.statistic)
    assert not np.array_equal(one.statistic, other.statistic)
    nobody = permutation_null(user_days.take_users(np.zeros(0, dtype=np.int64)), 8, SETTINGS, [1])
    assert np.isnan(nobody.p_values(np.array([3.0]))).all()


def test_beyond_the_sample_p_values_go_on_falling() -> None:
    """Larger statistics never have larger p-values, and none is zero."""
    null = NullSample(np.sort(np.random.default_rng(1).exponential(size=500)))
    p = null.p_values(np.linspace(-1, 40, 200))
    assert (np.diff(p) <= 1e-12).all()
    assert (p > 0).all()


@given(P_VALUES)
def test_one_days_q_values_are_benjamini_hochbergs(p: Float64Array) -> None:
    """Without days before, they are the adjusted p-values of scipy, and nan stays nan."""
    known = ~np.isnan(p)
    found = q_values(p)
    assert np.array_equal(np.isnan(found), ~known)
    if known.any():
        assert found[known] == pytest.approx(false_discovery_control(p[known]))


def test_tests_of_earlier_days_raise_q_values_and_discoveries_lower_them() -> None:
    """Tests of the days before raise q-values, discoveries among them lower them."""
    p = np.array([1e-4, 0.2, 0.9])
    alone, quiet, busy = q_values(p), q_values(p, 1000, 0), q_values(p, 1000, 9)
    assert alone[0] < busy[0] < quiet[0]
    assert quiet[0] == pytest.approx(1e-4 * 1003)
    assert busy[0] == pytest.approx(1e-4 * 1003 / 10)
