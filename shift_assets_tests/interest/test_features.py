"""Features of users and items describe their look-back window only."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shift_assets.contracts.interest import ITEM_FEATURES, NORMALISED_FEATURES, USER_FEATURES
from shift_assets.interest.item_features import item_features
from shift_assets.interest.lookback import median, mid_rank
from shift_assets.interest.series import interest_series
from shift_assets.interest.user_features import user_features
from shift_assets.settings.root import FeatureSettings, InterestSettings
from shift_assets_tests.interest.test_series import table_of

WEEK = FeatureSettings(look_back_days=7, embedding_dimensions=3)
ANN, BOB = "a" * 32, "b" * 32
DAYS = [date(2024, 11, n) for n in range(1, 13)]


def users(events: list[dict[str, Any]], days: list[date], **options: Any) -> list[dict[str, Any]]:
    table = table_of(events)
    series = interest_series(table, InterestSettings())
    rows = user_features(series, table, days, WEEK, timezone="Asia/Shanghai", **options)
    found: list[dict[str, Any]] = USER_FEATURES.conform(rows).to_pylist()
    return found


def items(events: list[dict[str, Any]], days: list[date]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ITEM_FEATURES.conform(item_features(table_of(events), days, WEEK, seed=1)).to_pylist()
    return found


def view(hours: int, user: str = ANN, item: str = "i1", **more: Any) -> dict[str, Any]:
    return {"behavior": "view", "hours": hours, "user_id": user, "item_id": item, **more}


def test_user_features_describe_the_window() -> None:
    """Recency, frequency, active days, entropy and rates come from the seven days up to the day."""
    events = [view(0), view(49, category="toys"), view(50), {**view(51, category="toys"), "behavior": "cart"}]
    row = users(events, [date(2024, 11, 5)])[0]
    assert (row["recency_days"], row["frequency"], row["active_days"]) == (2, 4, 2)
    assert row["entropy_bits"] == pytest.approx(1)
    assert (row["rate_view"], row["rate_cart"]) == (0.75, 0.25)
    assert users(events, [date(2024, 11, 9)])[0]["active_days"] == 1
    assert users(events, [date(2024, 11, 10)]) == []


def test_clock_profiles_are_local() -> None:
    """01:00 UTC on Friday is 09:00 on Friday in Shanghai, 20:00 UTC is 04:00 on Saturday; each profile sums to 1."""
    row = users([view(1), view(20)], [date(2024, 11, 2)])[0]
    assert row["hour_profile"][9] == row["hour_profile"][4] == 0.5
    assert row["weekday_profile"] == [0, 0, 0, 0, 0.5, 0.5, 0]


def test_price_level_ranks_within_the_category() -> None:
    """Users of the more expensive of two mugs rank above the middle, those of the cheaper below; toys do not matter."""
    events = [
        view(0, ANN, "cheap", price=1.0),
        view(0, BOB, "expensive", price=9.0),
        view(0, "c" * 32, "toy", price=99.0, category="toys"),
        view(0, "d" * 32, "unpriced"),
    ]
    rows = users(events, [date(2024, 11, 1)])
    assert [row["price_level"] for row in rows] == [0.25, 0.75, 0.5, None]
    assert rows[3]["price_level_imputed"] == 0.5
    assert rows[3]["price_level_normalised"] == pytest.approx(0)


@given(
    st.lists(
        st.builds(view, st.integers(0, 270), st.sampled_from([ANN, BOB]), st.sampled_from(["i1", "i2"])),
        min_size=1,
        max_size=30,
    )
)
@hypothesis_settings(max_examples=15, deadline=None)
def test_a_range_of_days_equals_each_day_alone(events: list[dict[str, Any]]) -> None:
    """A range of days gives bit for bit the rows of each day alone, and nothing depends on the order of rows."""
    events = [{**event, "price": 1.0 + event["hours"] / 7, "text": f"red {event['item_id']} mug"} for event in events]
    table = table_of(events)
    series = interest_series(table, InterestSettings())
    backwards = pa.array(range(len(table) - 1, -1, -1), pa.int64())
    together = user_features(series, table.take(backwards), DAYS, WEEK)
    together_items = item_features(table.take(backwards), DAYS, WEEK)
    for day in DAYS:
        same_day = pc.equal(together["day"], pa.scalar(day))
        assert together.filter(same_day).to_pylist() == user_features(series, table, [day], WEEK).to_pylist()
        same_day = pc.equal(together_items["day"], pa.scalar(day))
        assert together_items.filter(same_day).to_pylist() == item_features(table, [day], WEEK).to_pylist()


def test_normalised_features_have_mean_0_and_deviation_1_in_a_segment() -> None:
    """z-scores are taken within day and segment; where all are equal they are 0."""
    events = [view(n, f"{n:032x}", segment="north") for n in range(5) for _ in range(n + 1)]
    rows = users([*events, *[view(0, BOB, segment="south")] * 50], [date(2024, 11, 1)])
    north = np.array([row["frequency_normalised"] for row in rows if row["segment"] == "north"])
    assert north.mean() == pytest.approx(0)
    assert north.std() == pytest.approx(1)
    for name in NORMALISED_FEATURES:
        assert [row[f"{name}_normalised"] for row in rows if row["segment"] == "south"] == [0]


def test_attributes_are_carried_and_missing_ones_left_out() -> None:
    """Profile attributes come as name and value; nulls and unknown users have none."""
    attributes = pa.table({"user_id": [ANN], "country": ["France"], "age": pa.array([31]), "sex": pa.nulls(1)})
    rows = users([view(0), view(0, BOB)], [date(2024, 11, 1)], attributes=attributes)
    assert rows[0]["attributes"] == [{"name": "country", "value": "France"}, {"name": "age", "value": "31"}]
    assert rows[1]["attributes"] == []


def test_popularity_counts_users_of_a_week_and_trend_the_week_before() -> None:
    """Distinct users of the last seven days, and log2 of it over the week before, each plus one."""
    fortnight = FeatureSettings(look_back_days=14)
    events = [view(0), view(24 * 8), view(24 * 9), view(24 * 9, BOB), view(24 * 10, "c" * 32)]
    row = item_features(table_of(events), [date(2024, 11, 12)], fortnight).to_pylist()[0]
    assert row["popularity"] == 3
    assert row["trend"] == pytest.approx(np.log2(4 / 2))


def test_items_take_median_price_newest_category_and_mean_stars() -> None:
    """An item's price is the median, its category that of its newest event, its rating the mean of those given."""
    events = [
        view(0, price=1.0, category="old"),
        view(1, price=9.0, category="old"),
        view(2, price=2.0, category="new"),
        {**view(1, category="old"), "behavior": "rating", "rating": 4.0},
    ]
    row = items(events, [date(2024, 11, 1)])[0]
    assert (row["price"], row["category"], row["rating_mean"]) == (2.0, "new", 4.0)


def test_similar_texts_have_similar_embeddings() -> None:
    """Vectors have unit length, texts that share words are close, and an item without a text has an empty list."""
    texts = {"i1": "red tea mug", "i2": "blue tea mug", "i3": "garden gnome large", "i4": "garden gnome small"}
    events = [view(0, item=item, text=text) for item, text in texts.items()] + [view(0, item="i5")]
    events.append({**view(1, item="i5", text="my tea mug broke"), "behavior": "review"})
    rows = {row["item_id"]: row["embedding"] for row in items(events, [date(2024, 11, 1)])}
    assert rows["i5"] == []
    mug, same, gnome = (np.array(rows[name]) for name in ("i1", "i2", "i3"))
    assert np.linalg.norm(mug) == pytest.approx(1, abs=1e-5)
    assert mug @ same > 0.9
    assert mug @ gnome < 0.5
    assert rows == {row["item_id"]: row["embedding"] for row in items(events, [date(2024, 11, 1)])}


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9)), min_size=1, max_size=30))
@hypothesis_settings(max_examples=40, deadline=None)
def test_grouped_medians_equal_numpys(pairs: list[tuple[int, float]]) -> None:
    """Medians per group equal NumPy's; mid-ranks lie in 0..1 with mean one half."""
    group, value = (np.array(side) for side in zip(*pairs, strict=True))
    medians, ranks = median(group, value, 4), mid_rank(group, value, 4)
    for number in range(4):
        mine = group == number
        if mine.any():
            assert medians[number] == np.median(value[mine])
            assert ranks[mine].mean() == pytest.approx(0.5)
        else:
            assert np.isnan(medians[number])
    assert ((ranks > 0) & (ranks < 1)).all()
