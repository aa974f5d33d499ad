"""Clusters of alerts and rules of interest moves, on alerts with known moves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.ingest.cleaning.engines.spark import spark_session
from shift_assets.interest.itemsets import SparkMiner
from shift_assets.settings.root import Settings
from shift_assets.shift.segment.alert_clusters import WINDOW_DAYS, alert_clusters
from shift_assets.shift.segment.interest_moves import interest_moves
from shift_assets_tests.shift.logs import user_id
from shift_assets_tests.spark import needs_java

pytestmark = pytest.mark.slow

TODAY = date(2026, 3, 31)
PARTITION = Partition(TODAY, "north")
DEFAULT = Settings()


def alerts(moves: list[tuple[str, str]], days_ago: int = 0) -> pa.Table:
    """One alert per user: from one category to another, the shares about 60 % and 5 %."""
    random = np.random.default_rng(1)
    rows = []
    for number, (old, new) in enumerate(moves):
        much, little = 0.6 + 0.1 * random.random(), 0.1 * random.random()
        rows.append(
            dict.fromkeys(SHIFT_ALERTS.schema.names)
            | {
                "day": TODAY - timedelta(days=days_ago),
                "segment": PARTITION.segment,
                "alert_id": user_id(f"alert {number}"),
                "user_id": user_id(f"user {number}"),
                "rising": [{"category": new, "share_before": little, "share_after": much}] if new else [],
                "falling": [{"category": old, "share_before": much, "share_after": little}] if old else [],
            }
        )
    return pa.Table.from_pylist(rows, schema=pa.schema([field.with_nullable(True) for field in SHIFT_ALERTS.schema]))


TWO_MOVES = alerts([("mugs", "garden")] * 30 + [("toys", "christmas")] * 20)


@pytest.mark.parametrize("method", ["k_means", "dbscan"])
def test_users_who_move_differently_are_clusters(method: str) -> None:
    """Thirty who left mugs for garden and twenty who left toys for christmas are two clusters, named so."""
    found = [row for row in alert_clusters(TWO_MOVES, [PARTITION], DEFAULT).to_pylist() if row["method"] == method]
    if method == "k_means":
        sizes = [(row["name"], row["n_users"]) for row in found]
        assert sizes == [("from mugs to garden", 30), ("from toys to christmas", 20)]
        assert all(row["silhouette"] > 0.5 for row in found)
    assert {row["name"] for row in found} == {"from mugs to garden", "from toys to christmas"}
    assert found[0]["rising"][0]["share_after"] == pytest.approx(0.65, abs=0.05)
    assert found[0]["falling"][0]["category"] == "mugs"
    assert {row["user_id"] for row in found} <= set(TWO_MOVES["user_id"].to_pylist())


def test_users_with_the_same_move_are_one_group() -> None:
    """Two hundred users with one move: every cluster has the same name."""
    found = alert_clusters(alerts([("mugs", "garden")] * 200), [PARTITION], DEFAULT).to_pylist()
    assert {row["name"] for row in found} == {"from mugs to garden"}


def test_a_rule_has_the_confidence_and_lift_of_the_alerts() -> None:
    """Of 40 who left mugs 30 came to garden, as did 30 of all 50: confidence and lift follow."""
    moves = alerts([("mugs", "garden")] * 30 + [("mugs", "toys")] * 10 + [("books", "toys")] * 10)
    rules = interest_moves(moves, [PARTITION], DEFAULT).to_pylist()
    found = {(rule["antecedent"], rule["consequent"]): rule for rule in rules}
    rule = found["fell:mugs", "rose:garden"]
    assert (rule["n_users"], rule["n_antecedent"]) == (30, 40)
    assert rule["support"] == pytest.approx(30 / 50)
    assert rule["confidence"] == pytest.approx(30 / 40)
    assert rule["lift"] == pytest.approx((30 / 40) / (30 / 50))
    assert ("fell:mugs", "rose:toys") not in found  # less often together than apart


def test_a_category_name_may_look_like_two_items() -> None:
    """The number of items, not the name, distinguishes one item from two."""
    moves = alerts([("mugs + fell:toys", "garden")] * 20 + [("", "books")] * 20)
    (rule,) = (
        rule for rule in interest_moves(moves, [PARTITION], DEFAULT).to_pylist() if rule["consequent"] == "rose:garden"
    )
    assert (rule["antecedent"], rule["antecedent_items"]) == ("fell:mugs + fell:toys", 1)


@pytest.mark.spark
@needs_java
def test_both_engines_give_the_same_rules() -> None:
    """Spark MLlib and the embedded miner give the same rows."""
    random = np.random.default_rng(4)
    names = ["mugs", "garden", "toys", "christmas", ""]
    moves = alerts(
        [(str(random.choice(names)), str(random.choice(names, p=[0.1, 0.5, 0.1, 0.2, 0.1]))) for _ in range(300)]
    )
    with spark_session(DEFAULT.spark.remote) as session:
        by_spark = interest_moves(moves, [PARTITION], DEFAULT, SparkMiner(session))
    assert by_spark == interest_moves(moves, [PARTITION], DEFAULT)
    assert by_spark.num_rows > 3


@pytest.mark.parametrize("table", [alert_clusters, interest_moves])
@pytest.mark.parametrize(
    "moves",
    [
        alerts([]),
        alerts([("mugs", "garden")]),
        alerts([("", "")] * 30),
        alerts([("a", "b")] * 30, days_ago=WINDOW_DAYS),
    ],
    ids=["none", "one", "no category", "long ago"],
)
def test_too_few_alerts_give_no_rows(table: Callable, moves: pa.Table) -> None:
    """No alert, one alert, alerts without a category or outside the window: no rows."""
    assert table(moves, [PARTITION], DEFAULT).num_rows == 0


@pytest.mark.parametrize("table", [alert_clusters, interest_moves])
def test_order_and_repetition_of_alerts_do_not_matter(table: Callable) -> None:
    """A user counts once, by the newest alert, in any order of rows."""
    older = alerts([("toys", "books")] * 50, days_ago=3)
    both = pa.concat_tables([TWO_MOVES, older])
    shuffled = both.take(pa.array(np.random.default_rng(2).permutation(both.num_rows)))
    expected = table(TWO_MOVES, [PARTITION], DEFAULT)
    assert table(shuffled, [PARTITION], DEFAULT) == expected
    assert pc.max(expected["n_users"]).as_py() == 30
