"""Laws of one small installation, end to end: what is stored after a range of days, and that it adds up."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.outcomes import ALERT_OUTCOMES, RECOMMENDATION_OUTCOMES
from shift_assets.contracts.partition import days_between
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import INTEREST_STATE, OPEN_ALERTS, SHIFT_ALERTS
from shift_assets.defs.partitions import key_of
from shift_assets.privacy.pseudonym import pseudonym
from shift_assets.simulate.writer import Summary
from shift_assets.storage.lake import content_digests
from shift_assets_tests.end_to_end.shops import (
    FIRST_RUN_DAY,
    HORIZON_DAYS,
    KEY,
    LAST_DAY,
    SIMULATION,
    Shop,
    lines_of,
    spanned,
)

EVERY_DAY = days_between(SIMULATION.first_day, LAST_DAY)
WITH_HISTORY = {"clean_events", "rejected_events", "deliveries", "interest_series", "interest_state"}
"""Tables that later days need of earlier ones: they stand for the whole calendar, the others for the range asked."""
NEEDS_WEEKS = {
    "forecast_quality",
    "segment_events",
    "alarm_clusters",
    "interest_moves",
    "churn_calibration",
    "experiment_report",
}
"""Tables that have nothing to say before weeks have gone by, or many alerts: their own tests give them that."""


@pytest.mark.parametrize("name", TABLES)
def test_every_table_exists_for_every_day_and_segment_and_holds_rows(shop: Shop, name: str) -> None:
    """A range run leaves no partition out, and over six days of this log no table that may speak stays empty."""
    existing = shop.workspace.lake.published(TABLES[name])
    days, segments = spanned(existing)
    whole = name in WITH_HISTORY or name == "quality_verdicts"
    assert days == (EVERY_DAY if whole else days_between(FIRST_RUN_DAY, LAST_DAY))
    assert segments == sorted(shop.segments)
    assert len(existing) == len(days) * len(segments)
    assert name in NEEDS_WEEKS or sum(found.rows for found in existing.values()) > 0


@pytest.mark.parametrize("name", TABLES)
def test_every_table_keeps_its_contract(shop: Shop, name: str) -> None:
    """Types, nulls, keys, allowed values and bounds are as declared, and the digest is that of the rows."""
    table = TABLES[name]
    rows = table.conform(shop.workspace.lake.read(table))
    keys = rows.select([*dict.fromkeys(("day", "segment", *table.key))])
    assert keys.group_by(keys.column_names).aggregate([]).num_rows == rows.num_rows
    for column in table.columns:
        values = rows[column.name].drop_null()
        if column.allowed:
            assert set(pc.unique(values).to_pylist()) <= set(column.allowed), column.name
        if column.pattern:
            assert pc.all(pc.match_substring_regex(values, column.pattern)).as_py() is not False, column.name
        if column.minimum is not None:
            assert pc.all(pc.greater_equal(values, column.minimum)).as_py() is not False, column.name
        if column.maximum is not None:
            assert pc.all(pc.less_equal(values, column.maximum + 1e-9)).as_py() is not False, column.name
    existing = {partition: found for partition, found in shop.workspace.lake.published(table).items() if found.rows}
    assert content_digests(rows) == {partition: found.digest for partition, found in existing.items()}


def test_every_delivered_line_is_one_clean_or_one_rejected_row(shop: Shop) -> None:
    """Counted from the raw files, without the pipeline: no line is lost, none is counted twice."""
    landing = shop.workspace.settings.landing
    delivered = {
        file.relative_to(landing).as_posix(): len(lines_of(file)) for file in sorted(landing.glob("events/*/*"))
    }
    row_numbers: dict[str, list[int]] = defaultdict(list)
    for table in (CLEAN_EVENTS, REJECTED_EVENTS):
        for row in shop.workspace.lake.read(table, columns=["source_file", "source_row"]).to_pylist():
            row_numbers[row["source_file"]].append(row["source_row"])
    assert {file: sorted(rows) for file, rows in row_numbers.items()} == {
        file: list(range(1, lines + 1)) for file, lines in delivered.items()
    }
    accounts: Counter[str] = Counter()
    for row in shop.workspace.lake.read(DELIVERIES).to_pylist():
        assert row["file_rows"] == delivered[row["source_file"]]
        accounts[row["source_file"]] += row["rows"]
    assert accounts == delivered


def test_the_planted_dirt_is_rejected_and_nothing_else(shop: Shop, log: Summary) -> None:
    """As many rows are rejected as the simulation broke or repeated; late events are clean, on their own day."""
    counts = log.counts
    assert counts.malformed > 0
    assert counts.duplicates > 0
    assert counts.late > 0
    reasons = Counter(shop.workspace.lake.read(REJECTED_EVENTS, columns=["reason"])["reason"].to_pylist())
    assert reasons["duplicate"] == counts.duplicates
    assert sum(reasons.values()) == counts.malformed + counts.duplicates
    clean = shop.workspace.lake.read(CLEAN_EVENTS, columns=["day", "source_file"]).to_pylist()
    assert len(clean) == counts.events
    late = [row for row in clean if f"day={row['day'].isoformat()}" not in row["source_file"]]
    assert len(late) == counts.late


def test_an_alert_is_one_episode_of_one_user(shop: Shop) -> None:
    """Opened once and first, continued, closed last; its user stays, and its kind but for a surge or fade that turns
    out to be a switch or return."""
    episodes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in shop.workspace.lake.read(SHIFT_ALERTS).sort_by("day").to_pylist():
        episodes[row["alert_id"]].append(row)
    before = FIRST_RUN_DAY - timedelta(days=1)
    state = shop.workspace.lake.read(INTEREST_STATE, first_day=before, last_day=before, columns=["alert_id"])
    open_before = set(state["alert_id"].drop_null().to_pylist())
    for alert_id, rows in episodes.items():
        statuses = [row["status"] for row in rows]
        assert len({(row["segment"], row["user_id"]) for row in rows}) == 1
        kinds = [kind for kind, _ in itertools.groupby(row["kind"] for row in rows)]
        assert len(kinds) == 1 or (kinds[0] in {"surge", "fade"} and set(kinds[1:]) <= {"switch", "return"}), kinds
        assert len({row["day"] for row in rows}) == len(rows)
        assert statuses.count("opened") == (alert_id not in open_before)
        assert "opened" not in statuses[1:]
        assert "closed" not in statuses[:-1]
        assert all(row["onset_day"] <= row["day"] for row in rows)
    assert {row["status"] for rows in episodes.values() for row in rows} == {"opened", "continued", "closed"}


def test_an_alert_stays_open_while_its_user_stays_away(shop: Shop) -> None:
    """Each day lists the alerts of the day before and the news, less what closed, whoever came."""
    lake = shop.workspace.lake
    news = lake.read(SHIFT_ALERTS, columns=["day", "alert_id", "status"]).to_pylist()
    closed = {(row["day"], row["alert_id"]) for row in news if row["status"] == "closed"}
    rows = lake.read(OPEN_ALERTS).to_pylist()
    listed = {(row["day"], alert) for row in rows for alert in (row["alert_id"], row["churn_alert_id"]) if alert}
    assert {(row["day"], row["alert_id"]) for row in news if row["status"] != "closed"} <= listed
    carried = {(day + timedelta(days=1), alert) for day, alert in listed if day < LAST_DAY} - closed
    assert carried <= listed
    assert all(
        (day, alert) in carried
        for day, alert in listed - {(row["day"], row["alert_id"]) for row in news}
        if day > FIRST_RUN_DAY
    )
    came = {(row["day"], row["user_id"]) for row in lake.read(CLEAN_EVENTS, columns=["day", "user_id"]).to_pylist()}
    away = [row for row in rows if (row["day"], row["user_id"]) not in came and row["kind"] != "churn_risk"]
    assert away
    assert any(row["rising"] for row in away)


def test_alerts_find_users_whose_interest_was_replaced(shop: Shop, log: Summary) -> None:
    """Users with a planted abrupt change lately are alerted at least three times as often as users left alone."""
    labels = pq.read_table(log.labels).to_pylist()
    planted = {pseudonym(bytes.fromhex(KEY), row["user_id"]): row for row in labels if row["user_id"] is not None}
    alerted = set(shop.workspace.lake.read(SHIFT_ALERTS)["user_id"].to_pylist())
    watched = set(shop.workspace.lake.read(INTEREST_STATE, first_day=LAST_DAY)["user_id"].to_pylist())
    lately = FIRST_RUN_DAY - timedelta(days=10)
    moved = {user for user in watched if user in planted and planted[user]["kind"] == "abrupt"}
    moved = {user for user in moved if planted[user]["start_day"] >= lately}
    still = watched - planted.keys()
    assert moved
    assert len(moved & alerted) / len(moved) > 3 * len(still & alerted) / len(still)


def test_recommendations_have_ranks_from_one_known_items_and_no_item_twice(shop: Shop) -> None:
    """Every user-day has places 1, 2, … up to k, filled with items of the log, each once."""
    k = shop.workspace.settings.recommendations.k
    items = set(shop.workspace.lake.read(CLEAN_EVENTS, columns=["item_id"])["item_id"].to_pylist())
    opened = set(shop.workspace.lake.read(SHIFT_ALERTS, columns=["alert_id"])["alert_id"].to_pylist())
    slates: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in shop.workspace.lake.read(RECOMMENDATIONS).to_pylist():
        slates[row["day"], row["user_id"]].append(row)
    for rows in slates.values():
        assert sorted(row["rank"] for row in rows) == list(range(1, len(rows) + 1))
        assert len(rows) <= k
        assert len({row["item_id"] for row in rows}) == len(rows)
        assert {row["item_id"] for row in rows} <= items
        assert all(row["reason"] and row["alert_id"] in {None, *opened} for row in rows)
    assert any(row["alert_id"] for rows in slates.values() for row in rows)


def test_outcomes_evaluate_only_what_has_a_complete_horizon(shop: Shop) -> None:
    """An outcome of day D concerns an alert that opened, or a recommendation that was made, on D less the horizon."""
    lake, horizon = shop.workspace.lake, timedelta(days=HORIZON_DAYS)
    alerts = lake.read(SHIFT_ALERTS, columns=["day", "alert_id", "status"]).to_pylist()
    opened = {row["alert_id"]: row["day"] for row in alerts if row["status"] == "opened"}
    evaluated = {row["alert_id"]: row["day"] for row in lake.read(ALERT_OUTCOMES).to_pylist()}
    assert evaluated == {name: day + horizon for name, day in opened.items() if day + horizon <= LAST_DAY}
    slates = lake.read(RECOMMENDATIONS, columns=["day", "segment", "policy"]).to_pylist()
    made = {(row["day"] + horizon, row["segment"], row["policy"]) for row in slates}
    outcomes = lake.read(RECOMMENDATION_OUTCOMES).to_pylist()
    assert {(row["day"], row["segment"], row["policy"]) for row in outcomes} == {
        row for row in made if row[0] <= LAST_DAY
    }
    assert all(row["recall_at_k"] is None or 0 <= row["recall_at_k"] <= 1 for row in outcomes)


def test_dagster_knows_each_partition_by_the_digest_of_its_rows(shop: Shop) -> None:
    """The newest data version of every partition is the lake's content digest: the catalogue says what is stored."""
    digests = shop.digests()
    versions = shop.data_versions()
    versions["model_registry"] = versions.pop("interest_model")
    assert sorted(versions) == sorted(TABLES.keys() - {"deliveries", "quality_verdicts"})
    for name, known in versions.items():
        assert known == {str(key_of(partition)): digest for partition, digest in digests[name].items()}, name


def test_the_published_files_say_what_the_lake_says(shop: Shop) -> None:
    """Row counts in `bi_activation.duckdb` are those of the lake, as of the last day, in the first generation."""
    with duckdb.connect(str(shop.workspace.settings.bi / "bi_activation.duckdb"), read_only=True) as connection:
        generation, as_of = connection.execute("select generation, as_of_day from _generation").fetchone() or (0, None)
        alerts = connection.execute("select count(*) from alerts").fetchone()
        slates = connection.execute("select count(*) from recommendation_list").fetchone()
    assert (generation, as_of) == (1, LAST_DAY)
    assert alerts == (shop.workspace.lake.read(SHIFT_ALERTS).num_rows,)
    assert slates == (shop.workspace.lake.read(RECOMMENDATIONS).num_rows,)
