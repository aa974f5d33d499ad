"""Shares of a segment's interest by category, and pairs of items that rise."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.shift import SEGMENT_SHIFTS
from shift_assets.shift.segment.segment_shifts import segment_shifts
from shift_assets_tests.interest.test_series import table_of
from shift_assets_tests.shift.logs import SEGMENT, day, series_of

TODAY = day(34)
NO_EVENTS = CLEAN_EVENTS.empty()


def shifts(log: dict, events: pa.Table = NO_EVENTS) -> dict[str, dict]:
    rows = SEGMENT_SHIFTS.conform(segment_shifts(series_of(log), events, TODAY, SEGMENT)).to_pylist()
    return {row["category"]: row for row in rows}


def test_a_category_that_everybody_moves_to_is_rising() -> None:
    """Shares before and after are those of the windows; a move far beyond the days' spread has a direction."""
    steady = [{"a": 10 + n % 3, "b": 10 - n % 3} for n in range(28)]
    found = shifts({"ann": [*steady, *[{"a": 18 + n % 2, "b": 2} for n in range(7)]], "bob": [{"c": 1}] * 35})
    assert found["a"]["share_before"] == pytest.approx(0.52, abs=0.02)
    assert found["a"]["share_after"] == pytest.approx(0.86, abs=0.03)
    assert {name: row["direction"] for name, row in found.items()} == {"a": "rising", "b": "falling", "c": "steady"}
    assert found["a"]["z_score"] > 3
    assert found["a"]["n_users"] == 1


def test_shares_sum_to_one() -> None:
    """Over the categories, shares before and after each sum to 1."""
    found = shifts({"ann": [{"a": 1 + n % 4, "b": 2} for n in range(35)], "bob": [{}] * 30 + [{"z": 3}] * 5})
    assert sum(row["share_before"] for row in found.values()) == pytest.approx(1)
    assert sum(row["share_after"] for row in found.values()) == pytest.approx(1)


def test_one_loud_day_is_no_direction() -> None:
    """A single day that lifts a category is within its own spread: steady."""
    days = [{"a": 10, "b": 10}] * 34 + [{"a": 10, "b": 60}]
    assert shifts({"ann": days})["b"]["direction"] == "steady"


def test_too_few_days_have_no_standard_error() -> None:
    """With one day in the recent window there is a change, but no standard error."""
    row = shifts({"ann": [{"a": 1, "b": 1 + n % 2} for n in range(28)] + [{"a": 3}]})["a"]
    assert row["z_score"] is None
    assert row["direction"] == "steady"
    assert shifts({"ann": [{}]}) == {}


def test_pairs_in_the_same_basket_more_often_than_before_are_listed() -> None:
    """Cup and saucer, bought together only lately, are a rising pair of their category, with its lift."""
    events = []
    for number in range(35):
        recent = number >= 28
        for user in range(4):
            met = ["cup", "saucer"] if recent and user < 2 else ["cup" if user % 2 else "plate"]
            events += [
                {
                    "behavior": "purchase",
                    "hours": 24 * number,
                    "user_id": f"{user:032x}",
                    "item_id": item,
                    "segment": SEGMENT,
                }
                for item in met
            ]
    table = table_of(events)
    assert table["day"].to_pylist()[-1] == TODAY == date(2024, 11, 1) + timedelta(days=34)
    pairs = shifts({"ann": [{"mugs": 2}] * 35}, table)["mugs"]["rising_pairs"]
    # 28 baskets in 7 days: 14 hold both, 21 the cup, 14 the saucer.
    assert pairs == [{"item_a": "cup", "item_b": "saucer", "lift": pytest.approx(14 * 28 / (21 * 14))}]
