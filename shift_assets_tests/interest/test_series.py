"""The interest series counts every event once and scores it as defined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shift_assets.contracts.cleaning import BEHAVIORS, CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.interest.series import Step, interest_series, uncategorised_share
from shift_assets.settings.root import InterestSettings

EVENT = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["a" * 32, "b" * 32]),
        "category": st.sampled_from(["mugs", "toys"]),
        "behavior": st.sampled_from(BEHAVIORS),
        "hours": st.integers(0, 24 * 20),
        "quantity": st.none() | st.floats(-20, 20),
        "price": st.none() | st.floats(0.1, 99),
        "rating": st.none() | st.floats(1, 5),
    }
)


def table_of(events: Sequence[Mapping[str, Any]], start: date = date(2024, 11, 1)) -> pa.Table:
    rows = []
    for number, event in enumerate(events):
        ts = datetime(start.year, start.month, start.day, tzinfo=UTC) + timedelta(hours=event.get("hours", 0))
        rows.append(
            {
                "event_id": f"{number:032x}",
                "day": ts.date(),
                "segment": event.get("segment", "north"),
                "user_id": event.get("user_id", "a" * 32),
                "item_id": event.get("item_id", "i1"),
                "category": event.get("category", "mugs"),
                "behavior": event["behavior"],
                "event_ts": ts,
                "quantity": event.get("quantity"),
                "price": event.get("price"),
                "rating": event.get("rating"),
                "text": event.get("text"),
                "source": "made",
                "source_file": "made",
                "source_row": number + 1,
            }
        )
    return CLEAN_EVENTS.conform(pa.Table.from_pylist(rows, schema=CLEAN_EVENTS.schema))


@given(st.lists(EVENT, max_size=40), st.sampled_from(["hour", "day", "week"]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_event_is_lost_or_counted_twice(events: list[dict[str, Any]], step: Step) -> None:
    """Summed over all rows, every behaviour's count is its number of events, at every step; scores are >= 0."""
    series = interest_series(table_of(events), InterestSettings(), "Europe/London", step)
    for behavior in BEHAVIORS:
        assert (pc.sum(series[f"n_{behavior}"]).as_py() or 0) == sum(e["behavior"] == behavior for e in events)
    assert all(score >= 0 for score in series["score"].to_pylist())


@given(st.lists(EVENT, max_size=40), st.randoms())
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_order_of_events_does_not_matter(events: list[dict[str, Any]], random: Random) -> None:
    """Shuffled events give the same series bit for bit, sorted by its key."""
    table = table_of(events)
    order = list(range(len(table)))
    random.shuffle(order)
    first = interest_series(table, InterestSettings())
    assert first.equals(interest_series(table.take(pa.array(order, pa.int64())), InterestSettings()))
    keys = [tuple(row[name] for name in ("day", "segment", "user_id", "category")) for row in first.to_pylist()]
    assert keys == sorted(set(keys))
    assert INTEREST_SERIES.conform(first).equals(first)


def test_the_weighted_score_is_the_sum_of_weights_floored_at_zero() -> None:
    """Views count 1, carts 3, purchases 4, returns -4, a rating its stars less 3."""
    day: list[dict[str, Any]] = [{"behavior": b} for b in ("view", "cart", "purchase", "return")] + [
        {"behavior": "rating", "rating": 5.0}
    ]
    assert interest_series(table_of(day), InterestSettings())["score"].to_pylist() == [6.0]
    assert interest_series(table_of([{"behavior": "return"}]), InterestSettings())["score"].to_pylist() == [0.0]
    unrated: list[dict[str, Any]] = [{"behavior": "rating"}, {"behavior": "view", "rating": 5.0}]
    assert interest_series(table_of(unrated), InterestSettings())["score"].to_pylist() == [1.0]


@pytest.mark.parametrize(
    ("kind", "behaviors", "score"),
    [
        ("click_through", ["view", "view", "click"], 0.5),
        ("click_through", ["click"], 1.0),
        ("click_through", ["view"], 0.0),
        ("conversion", ["view", "click", "view", "purchase"], 1 / 3),
        ("conversion", ["purchase"], 1.0),
    ],
)
def test_other_scores_keep_their_definitions(
    kind: Literal["click_through", "conversion"], behaviors: list[str], score: float
) -> None:
    """Click-through is clicks per view, conversion purchases per visit; neither exceeds 1."""
    events = table_of([{"behavior": behavior} for behavior in behaviors])
    assert interest_series(events, InterestSettings(score=kind))["score"].to_pylist() == [pytest.approx(score)]


def test_amount_is_purchases_less_returns_whatever_the_sign_of_a_return() -> None:
    """A returned quantity lowers the amount whether its sign is negative or positive; the score stays >= 0."""
    for returned in (-3.0, 3.0):
        events = table_of(
            [
                {"behavior": "purchase", "quantity": 2.0, "price": 5.0},
                {"behavior": "return", "quantity": returned, "price": 5.0},
                {"behavior": "purchase", "price": 1.0},
                {"behavior": "view", "quantity": 9.0, "price": 9.0},
            ]
        )
        series = interest_series(events, InterestSettings(score="amount"))
        assert series["amount"].to_pylist() == [-4.0]
        assert series["score"].to_pylist() == [0.0]


def test_hours_are_those_of_the_shops_clock_and_weeks_begin_on_monday() -> None:
    """01:00 UTC is 09:00 in Shanghai; a Sunday belongs to the Monday before."""
    events = table_of([{"behavior": "view", "hours": 1}, {"behavior": "view", "hours": 49}])
    hourly = interest_series(events, InterestSettings(), "Asia/Shanghai", "hour")
    assert hourly["hour"].to_pylist() == [9, 9]
    weekly = interest_series(events, InterestSettings(), step="week")
    assert weekly["day"].to_pylist() == [date(2024, 10, 28)]
    with pytest.raises(ValueError, match="unknown step"):
        interest_series(events, InterestSettings(), step="month")  # type: ignore[arg-type]


def test_the_uncategorised_share_counts_events() -> None:
    """Not rows, users or scores; a day without events has none."""
    events = [{"behavior": "view", "category": name} for name in ("mugs", "uncategorised", "mugs", "toys")]
    series = interest_series(table_of(events), InterestSettings())
    assert uncategorised_share(series) == 0.25
    assert uncategorised_share(series.slice(0, 0)) == 0.0
