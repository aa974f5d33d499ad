"""What a state says about the visits of the days before it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shift_assets.churn.bg_nbd import HORIZON_DAYS, visits_from_state
from shift_assets.churn.history import VisitHistory
from shift_assets.contracts.day import day_number
from shift_assets_tests.churn.visits import DAY, RECENT_DAYS_CAPACITY, state_of


@given(
    st.lists(st.sets(st.integers(0, 200), min_size=1, max_size=RECENT_DAYS_CAPACITY), min_size=1, max_size=5),
    st.integers(HORIZON_DAYS, 200),
)
def test_the_past_is_what_the_state_of_that_day_held(ages: list[set[int]], back: int) -> None:
    """Visits, who was known, and who stayed away in the 28 days after, for users whose visits are all kept."""
    log = [sorted(DAY - timedelta(days=age) for age in user) for user in ages]
    history = VisitHistory(state_of(log, DAY), DAY)
    then = DAY - timedelta(days=back)
    known = history.known(day_number(then))
    assert known.tolist() == [min(days) <= then for days in log]
    found = history.as_of(day_number(then)).take(known)
    expected = visits_from_state(state_of([[d for d in days if d <= then] for days in log], then), then)
    for name in ("frequency", "recency", "age"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)
    horizon = then + timedelta(days=HORIZON_DAYS)
    stayed = [not any(then < day <= horizon for day in days) for days in log]
    assert history.churned(day_number(then))[known].tolist() == np.array(stayed)[known].tolist()


def test_a_user_of_more_visits_than_are_kept_has_not_stayed_away() -> None:
    """A daily visitor: no visit of two months ago is kept, and it is not taken for an absence."""
    log = [[DAY - timedelta(days=age) for age in range(120)]]
    history = VisitHistory(state_of(log, DAY), DAY)
    then = day_number(DAY) - 70
    assert not history.churned(then)[0]
    assert history.as_of(then).away[0] == 0
    assert history.as_of(day_number(DAY) - 10).frequency[0] == pytest.approx(109)
