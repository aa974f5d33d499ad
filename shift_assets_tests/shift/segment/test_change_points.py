"""Change points of one series: found where they are, and none where nothing changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shift_assets.arrays import Float64Array
from shift_assets.shift.segment.change_points import RECENT, change_points, online_changes

NOISE = np.random.default_rng(7).normal(size=400)
STEP = np.repeat([0.0, 4.0], 60)
WEEK = np.resize([0.0, 0.0, 1.0, 2.0, 6.0, 9.0, 3.0], 400)
ANY = arrays(np.float64, st.integers(0, 40), elements=st.floats(allow_nan=True, allow_infinity=True))


def stable(seed: int, kind: str, n: int = 200) -> Float64Array:
    """A series in which nothing changes."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=n)
    if kind == "heavy tails":
        return random.standard_t(3, n)
    if kind == "trend":
        return noise + np.linspace(0, 30, n)
    if kind == "walk":
        return np.cumsum(noise)
    if kind == "autocorrelated":
        return np.convolve(noise, 0.8 ** np.arange(30))[:n]
    if kind == "rare counts":
        return random.poisson(0.7, n).astype(float)
    return noise


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("level", STEP + NOISE[:120]),
        ("spread", np.repeat([1.0, 6.0], 60) * NOISE[:120]),
        ("trend", np.concatenate([np.zeros(60), np.arange(60) / 3]) + NOISE[:120] / 2),
        ("level of counts", np.random.default_rng(3).poisson(np.repeat([3, 12], 60))),
        ("level with gaps", np.where(np.arange(120) % 5 == 3, np.nan, STEP + NOISE[:120])),
        ("level with outliers", STEP + NOISE[:120] + 40 * (np.arange(120) % 37 == 20)),
        ("flat before", np.concatenate([np.zeros(60), np.full(60, 5)])),
    ],
)
def test_one_change_is_found_where_it_is(name: str, values: Float64Array) -> None:
    """A change of level, spread or trend is one change point, near its position and nearly certain."""
    found = change_points(values)
    assert len(found.index) == 1, name
    assert abs(found.index[0] - 60) <= 4
    assert found.posterior[0] > 0.95
    assert found.probability.sum() == pytest.approx(found.posterior[0], abs=0.01)


@pytest.mark.parametrize("kind", ["noise", "heavy tails", "trend", "walk", "autocorrelated", "rare counts"])
def test_autocorrelation_is_no_change(kind: str) -> None:
    """Of twelve series without change at most two, and of those with plain noise at most one, seem to have any."""
    flagged = sum(len(change_points(stable(seed, kind)).index) > 0 for seed in range(12))
    assert flagged <= (1 if kind in {"noise", "trend"} else 2)


def test_a_season_is_taken_out() -> None:
    """With its period given, a strong weekly rhythm hides no change of level, and is none itself."""
    assert change_points(WEEK[:120] + NOISE[:120], period=7).index.tolist() == []
    found = change_points(WEEK[:120] + STEP + NOISE[:120], period=7).index
    assert len(found) == 1
    assert abs(found[0] - 60) <= 2


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.sampled_from([-1, 1]))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(offset: float, scale: float, sign: int) -> None:
    """Another zero and another unit move no change point."""
    values = STEP + NOISE[:120]
    moved = change_points(offset + sign * scale * np.round(values * 64) / 64)
    assert moved.index.tolist() == change_points(np.round(values * 64) / 64).index.tolist()


@given(ANY, st.none() | st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_any_numbers_are_accepted(values: Float64Array, period: int | None) -> None:
    """Whatever the numbers, change points are positions within, ascending, with probabilities."""
    found, online = change_points(values, period=period), online_changes(values, period=period)
    assert (np.diff(found.index) > 0).all()
    assert ((found.index > 0) & (found.index < len(values))).all()
    assert ((found.posterior >= 0.5) & (found.posterior <= 1 + 1e-9)).all()
    assert len(found.probability) == len(online.recent) == len(online.run_length) == len(values)
    assert np.isfinite(online.recent).all()
    assert ((online.recent >= 0) & (online.recent <= 1 + 1e-9)).all()


@given(st.integers(1, 119), st.sampled_from([None, 7]))
@settings(max_examples=25, deadline=None)
def test_the_past_is_not_rewritten(length: int, period: int | None) -> None:
    """What was reported of a position when its value arrived does not change with later values."""
    values = WEEK[:120] + STEP + NOISE[:120]
    values[10:13] = np.nan
    whole, part = online_changes(values, period=period), online_changes(values[:length], period=period)
    np.testing.assert_allclose(whole.recent[:length], part.recent, atol=1e-9)
    np.testing.assert_array_equal(whole.run_length[:length], part.run_length)


def test_an_arriving_change_is_reported_soon() -> None:
    """Within a few values of a change it is nearly certain; before it, it was not; later it is no longer recent."""
    online = online_changes(STEP + NOISE[:120])
    assert online.recent[20:60].max() < 0.5
    assert online.recent[64] > 0.9
    assert online.recent[60 + 2 * RECENT :].max() < 0.5
    assert online.run_length[-1] == pytest.approx(60, abs=2)
