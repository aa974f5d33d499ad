"""The window ratios equal their definition, day by day as in one pass, and use no later day."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shift_assets.arrays import CategoryCodes, Float64Array
from shift_assets.interest.histories import Histories, histories
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.evidence import EvidenceParameters, trace_user_days
from shift_assets.shift.detector.window_ratios import (
    LOG_DAY_CAP,
    MAXIMUM_WINDOW,
    MINIMUM_DAYS_BEFORE,
    OWN_PRIOR_DAYS,
    WindowObserver,
    WindowRatios,
)
from shift_assets_tests.shift.detector.test_evidence import TASTES, population
from shift_assets_tests.shift.logs import series_of, user_id

FLAT = EvidenceParameters(half_life_active_days=10, platform_prior_users=1e9)
"""Without moves of the platform, and with a decay that shows."""
VISIT = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), max_size=3)
LOG = st.dictionaries(st.sampled_from(["ann", "bob", "cy"]), st.lists(VISIT, min_size=1, max_size=16), min_size=1)


class SameForAll(NamedTuple):
    """Expects the same mix of every user."""

    mix: Float64Array

    def expected(self, days: Float64Array) -> Float64Array:
        return np.tile(self.mix, (len(days), 1))


def ratios_of(log: Histories, settings: EvidenceSettings, mix: Float64Array | None = None) -> WindowRatios:
    """The ratios at the end of every entry."""
    n = len(log.codes)
    prior = SameForAll(np.full(n, 1 / n) if mix is None else mix)
    n_entries = len(log.user_days.day)
    observer = WindowObserver(prior, np.ones(n_entries, dtype=bool), WindowRatios.empty(n_entries))
    trace_user_days(log.user_days, n, settings, [observer])
    return observer.found


def entries_of(log: Histories, name: str) -> slice:
    row = log.users.to_pylist().index(user_id(name))
    return slice(int(log.user_days.start[row]), int(log.user_days.start[row + 1]))


def test_a_ratio_computed_by_hand() -> None:
    """Four days of a, one of b, no decay: ln of the mix over the own share; none where too few days lie before."""
    log = histories(series_of({"ann": [{"a": 1}] * 4 + [{"b": 1}]}))
    found = ratios_of(log, FLAT.model_copy(update={"half_life_active_days": 1e9}))
    assert np.isnan(found.log_ratio[:3]).all()
    of_a, of_b = np.log(0.5 / (6 / 9)), np.log(0.5 / (3 / 10))  # three days of a before, and four
    assert found.log_ratio[3, 0] == pytest.approx(of_a, abs=1e-5)
    assert found.log_ratio[4, 0] == pytest.approx(of_b, abs=1e-5)
    assert found.log_ratio[4, 1] == pytest.approx(of_a + np.log(0.5 / (3 / 9)), abs=1e-5)
    assert np.isnan(found.log_ratio[4, 2:]).all()
    assert found.days_before[3:] == pytest.approx([3.0, 3.0])


def reference_ratios(log: Histories, decay: float, prior: Float64Array, user: int) -> Float64Array:
    """The ratios [entry of the user, window] by their definition, every sum computed from scratch."""
    n = len(log.codes)
    first, last = log.user_days.start[user : user + 2]
    shares = log.user_days.dense_share(n)[first:last]
    out = np.full((len(shares), MAXIMUM_WINDOW), np.nan)
    scored = [entry for entry in range(len(shares)) if shares[entry].sum() > 0]
    for number, entry in enumerate(scored):
        for window in range(1, MAXIMUM_WINDOW + 1):
            inside, before = scored[: number + 1][-window:], scored[: number + 1][:-window]
            weight = np.array([decay ** (number - position) for position in range(len(before))])
            if weight.sum() < MINIMUM_DAYS_BEFORE:
                continue
            mass = (weight[:, None] * shares[before]).sum(axis=0)
            own = (mass + OWN_PRIOR_DAYS * prior) / (mass.sum() + OWN_PRIOR_DAYS)
            out[entry, window - 1] = np.minimum(shares[inside] @ np.log(prior / own), LOG_DAY_CAP).sum()
    return out


@given(LOG)
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_ratios_are_their_definition(log: dict[str, list[dict[str, int]]]) -> None:
    """Of every user, day and window, with days that decay."""
    whole = histories(series_of(log))
    mix = np.arange(1.0, len(whole.codes) + 1)
    mix /= mix.sum()
    found = ratios_of(whole, FLAT, mix)
    for user in range(len(whole.users)):
        mine = slice(*whole.user_days.start[user : user + 2].tolist())
        expected = reference_ratios(whole, FLAT.decay, mix, user)
        np.testing.assert_allclose(found.log_ratio[mine], expected, atol=1e-4)


def test_one_day_adds_no_more_than_its_cap() -> None:
    """However unlike the user it is; two such days add twice as much."""
    log = histories(series_of({"ann": [{"a": 1}] * 30 + [{"b": 1}] * 2}))
    found = ratios_of(log, FLAT.model_copy(update={"half_life_active_days": 1e9}), np.array([0.1, 0.9]))
    assert found.log_ratio[30, 0] == pytest.approx(LOG_DAY_CAP)
    assert found.log_ratio[31, 1] == pytest.approx(2 * LOG_DAY_CAP)


def test_no_ratio_uses_a_later_day() -> None:
    """The ratios of the first days are the same to the bit with and without the days after them."""
    days = population(TASTES[:40], 20, seed=3)
    position = np.arange(20 * 40) % 20
    early = days.take_entries(np.flatnonzero(position < 14), np.arange(41) * 14)
    codes = CategoryCodes(pa.array([f"c{number}" for number in range(8)]))
    ids = pa.array([f"u{number}" for number in range(40)])
    whole, first = (ratios_of(Histories(ids, codes, one), EvidenceSettings()).log_ratio for one in (days, early))
    np.testing.assert_array_equal(first, whole[position < 14])
    assert np.isfinite(first).any()


def test_only_wanted_entries_are_filled() -> None:
    log = histories(series_of({"ann": [{"a": 1}] * 8, "bob": [{"b": 1}] * 8}))
    wanted = np.zeros(16, dtype=bool)
    wanted[entries_of(log, "bob")] = True
    observer = WindowObserver(SameForAll(np.full(2, 0.5)), wanted, WindowRatios.empty(16))
    trace_user_days(log.user_days, 2, FLAT, [observer])
    assert np.isnan(observer.found.log_ratio[entries_of(log, "ann")]).all()
    whole = ratios_of(log, FLAT)
    np.testing.assert_array_equal(
        observer.found.log_ratio[entries_of(log, "bob")], whole.log_ratio[entries_of(log, "bob")]
    )
