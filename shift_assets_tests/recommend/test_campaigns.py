"""Audiences and slots, counted by hand: whom to address about what, and with which items."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from shift_assets.contracts.interest import ITEM_FEATURES
from shift_assets.contracts.recommendations import AD_SLOTS, CAMPAIGN_AUDIENCES, RECOMMENDATIONS
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.recommend.campaigns import CREATIVES, MINIMUM_SCORE, SLOTS, ad_slots, campaign_audiences

DAY = date(2026, 3, 1)
CATEGORY = {"g1": "garden", "g2": "garden", "k1": "kitchen", "m1": "mugs", "m2": "mugs", "t1": "toys"}


def user(name: str) -> str:
    return name.encode().hex().rjust(32, "0")


def slates(rows: dict[str, list[str]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "day": DAY,
                "segment": "uk",
                "user_id": user(name),
                "rank": rank,
                "item_id": item,
                "score": 1 / rank,
                "source": "popularity",
                "reason": "because",
                "policy": "unadjusted",
                "propensity": 1.0,
            }
            for name, items in rows.items()
            for rank, item in enumerate(items, start=1)
        ],
        schema=RECOMMENDATIONS.schema,
    )


def alerts(*rows: dict[str, object]) -> pa.Table:
    base = {
        "day": DAY,
        "segment": "uk",
        "status": "opened",
        "kind": "switch",
        "severity": "high",
        "magnitude": 0.6,
        "onset_day": DAY,
        "falling": [],
        "explanation": "because",
        "detector": "e_value",
        "confidence": 0.9,
    }
    return pa.Table.from_pylist([base | row for row in rows], schema=SHIFT_ALERTS.schema)


def alert(name: str, category: str, before: float, after: float, **more: object) -> dict[str, object]:
    rising = [{"category": category, "share_before": before, "share_after": after, "contribution": 1.0}]
    return {"user_id": user(name), "alert_id": user(f"{name}{category}"), "rising": rising} | more


def features(items: dict[str, str] = CATEGORY) -> pa.Table:
    rows = [
        {
            "day": DAY,
            "segment": "uk",
            "item_id": item,
            "category": category,
            "popularity": 1.0,
            "trend": 0.0,
            "embedding": [],
        }
        for item, category in items.items()
    ]
    return pa.Table.from_pylist(rows, schema=ITEM_FEATURES.schema)


SLATES = slates({"a": ["m1", "g2", "g1"], "b": ["g1", "k1"], "c": ["m2", "m1", "k1", "g2"]})
ALERTS = alerts(
    alert("a", "garden", 0.1, 0.7),
    alert("d", "garden", 0.0, 0.5, confidence=None),
    alert("c", "toys", 0.1, 0.9, status="closed"),
)


def audience(recommended: pa.Table = SLATES, reported: pa.Table = ALERTS) -> list[dict[str, object]]:
    rows = campaign_audiences(recommended, reported, features(), DAY, "uk")
    assert CAMPAIGN_AUDIENCES.conform(rows).equals(rows)
    found: list[dict[str, object]] = rows.to_pylist()
    return found


def test_the_audience_of_a_risen_category() -> None:
    """Users with an alert by expected share, the others by their recommendations; closed alerts add no category."""
    found = audience()
    assert {row["category"] for row in found} == {"garden"}
    by_list = 1 / (1 + 1 / np.log2(3))
    assert [(row["user_id"], row["place"]) for row in found] == [(user("a"), 1), (user("b"), 2), (user("d"), 3)]
    assert [row["score"] for row in found] == pytest.approx([0.9 * 0.7 + 0.1 * 0.1, by_list, 0.25])
    assert [row["gain"] for row in found] == [pytest.approx(0.6), None, pytest.approx(0.5)]
    assert [row["alert_id"] for row in found] == [user("agarden"), None, user("dgarden")]


def test_items_are_the_users_own_or_the_segments() -> None:
    """In the order of the user's ranks; a user without any gets what is recommended most in the segment."""
    found = {row["user_id"]: row["items"] for row in audience()}
    assert found == {user("a"): ["g2", "g1"], user("b"): ["g1"], user("d"): ["g1", "g2"]}


def test_a_user_below_the_minimum_score_is_not_addressed() -> None:
    """Garden has less than a fifth of the weight of user c's recommendations."""
    weights = 1 / np.log2(1 + np.arange(1, 5))
    assert weights[3] / weights.sum() < MINIMUM_SCORE
    assert user("c") not in {row["user_id"] for row in audience()}


def test_each_user_has_the_slots_of_highest_score() -> None:
    rows = ad_slots(SLATES, ALERTS, features(), DAY, "uk")
    assert AD_SLOTS.conform(rows).equals(rows)
    found = {(row["user_id"], row["slot"]): row for row in rows.to_pylist()}
    assert [found[user("a"), slot]["category"] for slot in (1, 2)] == ["garden", "mugs"]
    assert [found[user("c"), slot]["category"] for slot in range(1, SLOTS + 1)] == ["mugs", "kitchen", "garden"]
    assert found[user("c"), 1]["items"] == ["m2", "m1"]
    assert (user("c"), SLOTS + 1) not in found
    scores = [row["score"] for row in rows.to_pylist() if row["user_id"] == user("c")]
    assert scores == sorted(scores, reverse=True)


def test_of_two_alerts_about_a_category_the_larger_counts() -> None:
    two = alerts(alert("a", "garden", 0.1, 0.7, magnitude=0.3), alert("a", "garden", 0.0, 0.4, alert_id=user("x")))
    (row,) = (row for row in audience(reported=two) if row["user_id"] == user("a"))
    assert row["alert_id"] == user("x")


def test_suggested_items_are_truncated() -> None:
    items = [f"g{number}" for number in range(9)]
    rows = ad_slots(slates({"a": items}), alerts(), features(dict.fromkeys(items, "garden")), DAY, "uk")
    assert rows["items"].to_pylist() == [items[:CREATIVES]]


@pytest.mark.parametrize("table", [campaign_audiences, ad_slots])
def test_order_of_rows_does_not_matter(table: Callable[..., pa.Table]) -> None:
    def mixed(rows: pa.Table) -> pa.Table:
        return rows.take(pa.array(np.random.default_rng(1).permutation(len(rows))))

    given = (SLATES, ALERTS, features())
    assert table(*given, DAY, "uk").equals(table(*(mixed(rows) for rows in given), DAY, "uk"))


@pytest.mark.parametrize("table", [campaign_audiences, ad_slots])
@pytest.mark.parametrize("reported", [ALERTS, SHIFT_ALERTS.empty()])
def test_without_recommendations_there_are_no_items_and_without_alerts_no_audience(
    table: Callable[..., pa.Table], reported: pa.Table
) -> None:
    nothing = RECOMMENDATIONS.empty()
    rows = table(nothing, reported, ITEM_FEATURES.empty(), DAY, "uk").to_pylist()
    assert {row["user_id"] for row in rows} == ({user("a"), user("d")} if reported.num_rows else set())
    assert all(row["items"] == [] for row in rows)
    assert campaign_audiences(SLATES, SHIFT_ALERTS.empty(), features(), DAY, "uk").num_rows == 0
