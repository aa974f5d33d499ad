"""What the days after say about lists, counted by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from shift_assets import contracts
from shift_assets.evaluate.recommendations import recommendation_outcomes
from shift_assets.settings import OutcomeSettings
from shift_assets_tests.models.events import Row, clean_events, day, random_log, shuffled, user_id

DAY = day(10)
SETTINGS = OutcomeSettings(horizon_days=3, bootstrap_samples=50)


def lists(rows: dict[str, list[str]], policy: str = "unadjusted", propensity: float = 1.0) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "day": DAY,
                "segment": "all",
                "user_id": user_id(user),
                "rank": rank,
                "item_id": item,
                "score": 1 / rank,
                "source": "popularity",
                "reason": "because",
                "policy": policy,
                "propensity": propensity,
            }
            for user, items in rows.items()
            for rank, item in enumerate(items, start=1)
        ],
        schema=contracts.RECOMMENDATIONS.schema,
    )


BEFORE = clean_events([(1, f"user {n}", f"x-{n % 4}", "view") for n in range(16)])


def outcome(recommended: pa.Table, after: list[Row]) -> dict[str, float]:
    rows = recommendation_outcomes(recommended, clean_events(after), BEFORE, SETTINGS, seed=1)
    assert contracts.RECOMMENDATION_OUTCOMES.conform(rows).equals(rows)
    (row,) = rows.to_pylist()
    return dict(row)


def test_hand_counted_lists() -> None:
    """Two users judged, one hit each, one of them bought; the third did not come and is in coverage only."""
    row = outcome(
        lists({"a": ["x-0", "x-1"], "b": ["x-2", "x-1"], "c": ["x-0", "x-1"]}),
        [(11, "a", "x-0", "view"), (12, "a", "x-3", "view"), (13, "b", "x-1", "purchase")],
    )
    assert row["users"] == 2
    assert row["k"] == 2
    assert row["recall_at_k"] == pytest.approx((1 / 2 + 1) / 2)
    assert row["click_rate"] == 1.0
    assert row["purchase_rate"] == 0.5
    assert row["coverage"] == pytest.approx(3 / 4)
    assert row["novelty"] == pytest.approx(2.0)  # every item was met by 4 of 16 users
    assert row["ips"] == row["snips"] == row["dr"] == pytest.approx(2 / 4)


def test_only_the_horizon_counts() -> None:
    """Events of the day itself, after the horizon, and returns are no hits, and make no user a judged one."""
    row = outcome(
        lists({"a": ["x-0", "x-1"]}), [(10, "a", "x-0", "view"), (14, "a", "x-0", "view"), (11, "a", "x-1", "return")]
    )
    assert row["users"] == 0
    assert row["recall_at_k"] is None
    assert row["ips"] is None
    assert row["coverage"] == pytest.approx(2 / 4)


def test_each_policy_is_judged_alone() -> None:
    """Two policies give two rows, each as if the other were not there."""
    one, other = lists({"a": ["x-0", "x-1"]}), lists({"b": ["x-2"]}, policy="shift_adjusted")
    after = clean_events([(11, "a", "x-0", "view"), (11, "b", "x-3", "view")])
    together = recommendation_outcomes(pa.concat_tables([one, other]), after, BEFORE, SETTINGS, seed=1)
    alone = pa.concat_tables([recommendation_outcomes(part, after, BEFORE, SETTINGS, seed=1) for part in (other, one)])
    assert together.equals(alone)


def test_a_rarely_shown_item_weighs_more() -> None:
    """IPS is the click rate over the propensity; SNIPS is normalised by the weights and stays the click rate."""
    row = outcome(lists({"a": ["x-0", "x-1"]}, propensity=0.5), [(11, "a", "x-0", "view")])
    assert row["ips"] == pytest.approx(1.0)
    assert row["snips"] == pytest.approx(0.5)


def test_order_of_rows_does_not_matter_and_the_seed_repeats() -> None:
    """The same rows in another order, and the same seed, give the same outcome with the same intervals."""
    events = random_log(3)
    recommended = lists(
        {f"user {n}": [f"c{n % 5}-{n % 5:02d}", "c1-01"] if n % 5 != 1 else ["c1-01"] for n in range(30)}
    )
    one = recommendation_outcomes(recommended, events, events, SETTINGS, seed=1)
    other = recommendation_outcomes(shuffled(recommended), shuffled(events), shuffled(events, 1), SETTINGS, seed=1)
    assert one.equals(other)
    row = one.to_pylist()[0]
    for name in (
        "recall_at_k",
        "ndcg_at_k",
        "click_rate",
        "purchase_rate",
        "coverage",
        "novelty",
        "ips",
        "snips",
        "dr",
    ):
        assert 0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_no_lists_no_outcome() -> None:
    """A day without lists has nothing to judge."""
    empty = contracts.RECOMMENDATIONS.empty()
    assert recommendation_outcomes(empty, BEFORE, BEFORE, SETTINGS, seed=1).num_rows == 0


def test_lists_of_two_days_are_refused() -> None:
    """One day and segment are judged at a time."""
    rows = lists({"a": ["x-0"]})
    later = rows.set_column(0, rows.schema.field("day"), pa.array([day(11)], pa.date32()))
    with pytest.raises(ValueError, match="one day and segment"):
        recommendation_outcomes(pa.concat_tables([rows, later]), BEFORE, BEFORE, SETTINGS, seed=1)
