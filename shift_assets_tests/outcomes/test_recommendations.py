"""Outcomes of recommendations, counted by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.outcomes.recommendations import recommendation_outcomes as every_outcome
from shift_assets.outcomes.recommendations import user_outcomes
from shift_assets.settings.root import OutcomeSettings
from shift_assets_tests.event_logs import Row, clean_events, day, random_log, shuffled, user_id

DAY = day(10)
SETTINGS = OutcomeSettings(horizon_days=3, bootstrap_samples=50)
CALM = SHIFT_ALERTS.empty()
recommendation_outcomes = partial(every_outcome, minimum_effective_users=1)


def slates(rows: dict[str, list[str]], policy: str = "unadjusted", propensity: float = 1.0) -> pa.Table:
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
                "policy_propensity": 0.4,
            }
            for user, items in rows.items()
            for rank, item in enumerate(items, start=1)
        ],
        schema=RECOMMENDATIONS.schema,
    )


BEFORE = clean_events([(1, f"user {n}", f"x-{n % 4}", "view") for n in range(16)])


def outcome(recommended: pa.Table, after: list[Row]) -> dict[str, Any]:
    rows = recommendation_outcomes(recommended, clean_events(after), BEFORE, CALM, SETTINGS, seed=1)
    assert RECOMMENDATION_OUTCOMES.conform(rows).equals(rows)
    (row,) = rows.to_pylist()
    return dict(row)


def test_metrics_of_hand_counted_recommendations() -> None:
    """Two users evaluated, one hit each, one of them bought; the third did not come and is in coverage only."""
    row = outcome(
        slates({"a": ["x-0", "x-1"], "b": ["x-2", "x-1"], "c": ["x-0", "x-1"]}),
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
    """Events of the day itself, after the horizon, and returns are no hits, and make no user an evaluated one."""
    row = outcome(
        slates({"a": ["x-0", "x-1"]}), [(10, "a", "x-0", "view"), (14, "a", "x-0", "view"), (11, "a", "x-1", "return")]
    )
    assert row["users"] == 0
    assert row["recall_at_k"] is None
    assert row["ips"] is None
    assert row["coverage"] == pytest.approx(2 / 4)


def test_each_policy_is_evaluated_alone() -> None:
    """Two policies give two rows, each as if the other were not there."""
    one, other = slates({"a": ["x-0", "x-1"]}), slates({"b": ["x-2"]}, policy="shift_adjusted")
    after = clean_events([(11, "a", "x-0", "view"), (11, "b", "x-3", "view")])
    together = recommendation_outcomes(pa.concat_tables([one, other]), after, BEFORE, CALM, SETTINGS, seed=1)
    alone = pa.concat_tables(
        [recommendation_outcomes(part, after, BEFORE, CALM, SETTINGS, seed=1) for part in (other, one)]
    )
    assert together.equals(alone)


def test_an_item_left_in_place_is_weighted_by_its_propensity() -> None:
    """IPS is the click rate over the odds of being kept; SNIPS is normalised by the weights: the click rate."""
    row = outcome(slates({"a": ["x-0", "x-1"]}, propensity=0.5), [(11, "a", "x-0", "view")])
    assert row["ips"] == pytest.approx(1.0)
    assert row["snips"] == pytest.approx(0.5)


def test_an_explored_item_earns_the_target_policy_nothing() -> None:
    """Half of the users get the item, half an explored one: the first half represents all, the other none."""
    kept = slates({f"kept {n}": ["x-0", "x-1"] for n in range(20)})
    put = slates({f"put {n}": ["x-0", "x-2"] for n in range(20)})
    explored = pa.array(["popularity", "exploration"] * 20)
    put = put.set_column(put.schema.get_field_index("source"), put.schema.field("source"), explored)
    both = pa.concat_tables([kept, put])
    odds = pa.array([1.0 if rank == 1 else 0.5 for rank in both["rank"].to_pylist()])
    both = both.set_column(both.schema.get_field_index("propensity"), both.schema.field("propensity"), odds)
    clicks = [(11, f"kept {n}", "x-1", "view") for n in range(10)] + [
        (11, f"put {n}", "x-2", "view") for n in range(20)
    ]
    idle = [(11, f"kept {n}", "x-3", "view") for n in range(10, 20)]
    row = outcome(both, [*clicks, *idle])
    assert row["ips"] == pytest.approx(10 * 2 / 80)
    assert row["snips"] == pytest.approx(10 * 2 / 80)
    assert row["dr"] == pytest.approx(10 * 2 / 80, abs=0.05)
    assert row["explored"] == [{"category": "x", "shown": 40, "met": 30}]


def alert(user: str, kind: str, magnitude: float, status: str = "opened") -> dict[str, object]:
    return {
        "day": DAY,
        "segment": "all",
        "alert_id": f"{kind}{magnitude}".encode().hex().rjust(32, "0"),
        "user_id": user_id(user),
        "status": status,
        "kind": kind,
        "severity": "low",
        "magnitude": magnitude,
        "onset_day": DAY,
        "rising": [],
        "falling": [],
        "explanation": "because",
        "detector": "e_value",
    }


def test_users_are_counted_by_the_kind_of_their_alert_whether_active_or_not() -> None:
    """Of two alerts the larger gives the kind, a closed one none; users without events have no click."""
    alerts = pa.Table.from_pylist(
        [
            alert("a", "fade", 0.3),
            alert("a", "switch", 0.6),
            alert("b", "switch", 0.5),
            alert("c", "fade", 1, "closed"),
        ],
        schema=SHIFT_ALERTS.schema,
    )
    after = clean_events([(11, "a", "x-0", "purchase"), (11, "c", "x-1", "view"), (11, "d", "x-3", "view")])
    recommended = slates({user: ["x-0", "x-1"] for user in "abcd"})
    (row,) = recommendation_outcomes(recommended, after, BEFORE, alerts, SETTINGS, seed=1).to_pylist()
    assert row["by_shift_kind"] == [
        {"shift_kind": "no_shift", "users": 2, "clicked": 1, "purchased": 0},
        {"shift_kind": "switch", "users": 2, "clicked": 1, "purchased": 1},
    ]


def test_explored_positions_are_counted_by_category() -> None:
    """What was shown with certainty explored nothing."""
    explored = slates({"a": ["x-0", "x-1"], "b": ["x-2"]}, propensity=0.5)
    row = outcome(explored, [(11, "a", "x-0", "view"), (11, "b", "x-3", "view")])
    category = clean_events([(1, "a", "x-0", "view")])["category"][0].as_py()
    assert row["explored"] == [{"category": category, "shown": 3, "met": 1}]
    assert outcome(slates({"a": ["x-0"]}), [(11, "a", "x-0", "view")])["explored"] == []


def test_too_few_effective_users_give_a_note_instead_of_an_estimate() -> None:
    """Three users are not the hundred that an off-policy estimate needs; what is counted stays."""
    after = clean_events([(11, "a", "x-0", "view")])
    (row,) = every_outcome(slates({"a": ["x-0"]}), after, BEFORE, CALM, SETTINGS, seed=1).to_pylist()
    assert row["ips"] is row["snips"] is row["dr_high"] is None
    assert row["off_policy_note"] == "in effect 1 users, fewer than the 100 that an estimate needs"
    assert row["click_rate"] == 1.0


def test_order_of_rows_does_not_matter_and_the_seed_repeats() -> None:
    """The same rows in another order, and the same seed, give the same outcome with the same intervals."""
    events = random_log(3)
    recommended = slates(
        {f"user {n}": [f"c{n % 5}-{n % 5:02d}", "c1-01"] if n % 5 != 1 else ["c1-01"] for n in range(30)}
    )
    one = recommendation_outcomes(recommended, events, events, CALM, SETTINGS, seed=1)
    other = recommendation_outcomes(
        shuffled(recommended), shuffled(events), shuffled(events, 1), CALM, SETTINGS, seed=1
    )
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


def test_no_recommendations_have_no_outcome() -> None:
    """A day without recommendations has no outcome."""
    empty = RECOMMENDATIONS.empty()
    assert recommendation_outcomes(empty, BEFORE, BEFORE, CALM, SETTINGS, seed=1).num_rows == 0


def test_recommendations_of_two_days_are_refused() -> None:
    """One day and segment are evaluated at a time."""
    rows = slates({"a": ["x-0"]})
    later = rows.set_column(0, rows.schema.field("day"), pa.array([day(11)], pa.date32()))
    with pytest.raises(ValueError, match="one day and segment"):
        recommendation_outcomes(pa.concat_tables([rows, later]), BEFORE, BEFORE, CALM, SETTINGS, seed=1)


def test_user_outcomes_are_within_the_horizon_of_each_day() -> None:
    """Per day and user: clicked, bought, recall; each day has its own horizon; without events there is no recall."""
    today, later = slates({"a": ["x-0", "x-1"], "b": ["x-2"]}), slates({"a": ["x-3"]}, policy="exploring")
    later = later.set_column(0, later.schema.field("day"), pa.array([day(12)], pa.date32()))
    after = clean_events([(12, "a", "x-0", "purchase"), (13, "a", "x-7", "view"), (14, "a", "x-3", "view")])
    rows = user_outcomes(shuffled(pa.concat_tables([today, later])), after, SETTINGS.horizon_days).to_pylist()
    found = {(row["day"], row["user_id"]): row for row in rows}
    assert len(found) == len(rows) == 3
    first, other = found[DAY, user_id("a")], found[day(12), user_id("a")]
    assert (first["clicked"], first["purchased"], first["recall_at_k"]) == (True, True, 0.5)
    assert (other["clicked"], other["purchased"], other["recall_at_k"]) == (True, False, 1.0)
    assert (first["policy"], other["policy"]) == ("unadjusted", "exploring")
    assert {row["propensity"] for row in rows} == {0.4}
    idle = found[DAY, user_id("b")]
    assert (idle["clicked"], idle["purchased"], idle["recall_at_k"]) == (False, False, None)
