"""Laws of the warehouse: a cache of the lake that loads only what changed and can always be rebuilt."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.contracts.cleaning import REJECTED_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.marts import BASE_COLUMNS, MARTS, PUBLIC, RECENT_DAYS
from shift_assets.contracts.outcomes import ALERT_OUTCOMES
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import OPEN_ALERTS, SHIFT_ALERTS
from shift_assets.storage.bi_generations import publish
from shift_assets.storage.warehouse import Warehouse
from shift_assets_tests.lakes import fill, new_lake, partitions
from shift_assets_tests.lakes import rows_of as lake_rows

pytestmark = pytest.mark.slow

MINIMUM_USERS = 3
FEW = ("interest_series", "shift_signals", "shift_alerts", "clean_events", "segment_shifts")


def new_warehouse(home: Path, name: str = "bi") -> Warehouse:
    return Warehouse(home / name / "warehouse.duckdb", MINIMUM_USERS)


def rows_of(warehouse: Warehouse, query: str) -> list[tuple]:
    with warehouse.connection() as connection:
        return connection.execute(query).fetchall()


def contents(warehouse: Warehouse) -> dict[str, dict[str, str]]:
    """Digest of every table that would be published."""
    return {name: p.digests for name, p in publish(warehouse, warehouse.path.parent, 1).items()}


def test_a_load_without_news_changes_nothing(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(2), tables=FEW)
    assert warehouse.load(lake).rebuilt
    again = warehouse.load(lake)
    assert (again.partitions, again.rebuilt, again.refreshed) == ({}, False, False)


def test_only_changed_partitions_are_loaded(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(2), tables=FEW)
    warehouse.load(lake)
    fill(lake, partitions(1)[:1], seed=1, tables=["shift_alerts", "clean_events"])
    loaded = warehouse.load(lake)
    assert loaded.partitions == {"shift_alerts": 1, "clean_events": 1}
    assert loaded.refreshed


def test_many_small_loads_give_what_one_large_load_gives(tmp_path: Path) -> None:
    lake, grown = new_lake(tmp_path), new_warehouse(tmp_path)
    for seed, days in enumerate((3, 1, 2)):
        fill(lake, partitions(days), seed=seed, tables=FEW)
        grown.load(lake)
    lake.drop(SHIFT_ALERTS, partitions(1), "retention")
    grown.load(lake)
    fresh = new_warehouse(tmp_path, "fresh")
    fresh.load(lake)
    assert contents(grown) == contents(fresh)


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 1000])
def test_a_damaged_file_is_rebuilt(tmp_path: Path, damage: bytes) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(1), tables=FEW)
    warehouse.load(lake)
    before = contents(warehouse)
    warehouse.path.write_bytes(damage)
    assert warehouse.load(lake).rebuilt
    assert contents(warehouse) == before


def test_a_truncated_file_is_rebuilt(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(1), tables=FEW)
    warehouse.load(lake)
    before = contents(warehouse)
    with warehouse.path.open("rb+") as file:
        file.truncate(warehouse.path.stat().st_size // 3)
    warehouse.load(lake)
    assert contents(warehouse) == before


def test_another_threshold_recomputes_the_marts(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(1), tables=FEW)
    warehouse.load(lake)
    stricter = Warehouse(warehouse.path, 1000)
    loaded = stricter.load(lake)
    assert (loaded.partitions, loaded.refreshed) == ({}, True)
    assert rows_of(stricter, "select distinct suppressed from public.segment_trends") == [(True,)]


def test_a_fault_inside_a_connection_closes_it_and_undoes_its_work(tmp_path: Path) -> None:
    warehouse = new_warehouse(tmp_path)
    with pytest.raises(duckdb.CatalogException), warehouse.connection() as connection:
        connection.execute("begin; create table half (a integer); select no_such_function()")
    reader = duckdb.connect(str(warehouse.path), read_only=True)  # refused while it is open for writing
    assert reader.execute("from duckdb_tables()").fetchall() == []
    reader.close()


def test_the_warehouse_is_private_and_holds_no_delivered_bytes(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(1), tables=[REJECTED_EVENTS.name])
    warehouse.load(lake)
    assert warehouse.path.stat().st_mode & 0o777 == 0o600
    assert b'{"note"' not in warehouse.path.read_bytes()


def test_a_segment_of_digits_stays_text(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(1, ["007"]), tables=FEW)
    warehouse.load(lake)
    assert rows_of(warehouse, "select distinct segment from base.shift_alerts") == [("007",)]


def test_marts_have_their_declared_shape_and_key(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(2), rows=40)
    warehouse.load(lake)
    with warehouse.connection() as connection:
        for schema, tables in (("marts", MARTS), ("public", PUBLIC)):
            for name, table in tables.items():
                rows = connection.table(f"{schema}.{name}").to_arrow_table()
                assert rows.num_rows > 0, name
                table.conform(rows)
                keys = rows.select(sorted({"day", "segment", *table.key}))
                assert keys.group_by(keys.column_names).aggregate([]).num_rows == rows.num_rows, name


def test_the_marts_agree_with_a_count_by_hand(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(2), rows=30)
    warehouse.load(lake)

    alerts = lake.read(SHIFT_ALERTS).to_pylist()
    existing = Counter((a["day"], a["segment"], a["kind"]) for a in alerts if a["status"] != "closed")
    found = rows_of(warehouse, "select day, segment, alerts_switch, alerts_churn_risk from marts.shift_overview")
    assert len(found) == 4
    for day, segment, switches, churn in found:
        assert (switches, churn) == (existing[day, segment, "switch"], existing[day, segment, "churn_risk"])

    first = max(alerts, key=lambda a: len(a["rising"]))
    ((text,),) = [
        (text,)
        for alert_id, text in rows_of(warehouse, "select alert_id, rising_text from marts.alerts")
        if alert_id == first["alert_id"]
    ]
    words = [
        f"{c['category']} {100 * c['share_before']:.0f} % → {100 * c['share_after']:.0f} %" for c in first["rising"]
    ]
    assert text == "; ".join(words)

    news = {(a["day"], a["alert_id"]): a for a in alerts}
    listed = {
        row[:3]: row[3:]
        for row in rows_of(
            warehouse,
            "select day, segment, user_id, alert_id, days_open, news_day, severity, explanation "
            "from marts.open_alert_list",
        )
    }
    held = lake.read(OPEN_ALERTS).to_pylist()
    assert len(listed) == len(held)
    for row in held:
        said = news.get((row["day"], row["alert_id"]))
        assert listed[row["day"], row["segment"], row["user_id"]] == (
            row["alert_id"],
            (row["day"] - row["opened_day"]).days,
            *((said["day"], said["severity"], said["explanation"]) if said else (None, None, None)),
        )

    outcomes = lake.read(ALERT_OUTCOMES).to_pylist()
    shifts, warnings = ([o for o in outcomes if (o["log_likelihood_gain"] is None) == churn] for churn in (False, True))
    for day, segment, *counts in rows_of(
        warehouse,
        "select day, segment, alerts_judged, alerts_confirmed, churn_warnings_evaluated, churn_warnings_confirmed "
        "from marts.outcomes",
    ):
        here = [
            [o["confirmed"] for o in side if (o["day"], o["segment"]) == (day, segment)] for side in (shifts, warnings)
        ]
        assert counts == [len(here[0]), here[0].count(True), len(here[1]) - here[1].count(None), here[1].count(True)]

    series = lake.read(INTEREST_SERIES).to_pylist()
    score = Counter[tuple]()
    for row in series:
        score[row["day"], row["segment"]] += row["score"]
        score[row["day"], row["segment"], row["category"]] += row["score"]
    for day, segment, category, share in rows_of(
        warehouse, "select day, segment, category, interest_share from marts.segment_trends"
    ):
        assert share == pytest.approx(score[day, segment, category] / score[day, segment])

    delivered = Counter(
        (r["day"], r["segment"]) for n in ("clean_events", "rejected_events") for r in lake.read(TABLES[n]).to_pylist()
    )
    found = rows_of(
        warehouse, "select day, segment, rows_delivered, rows_clean + rows_rejected from marts.data_quality"
    )
    assert {(day, segment): rows for day, segment, rows, _ in found} == delivered
    shares = rows_of(warehouse, "select round(sum(share), 9) from marts.rejected_reasons group by day, segment")
    assert shares == rows_of(warehouse, "select round(rejected_share, 9) from marts.data_quality")


def test_every_recommendation_of_the_lake_is_in_the_mart_once(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    fill(lake, partitions(2), rows=40)
    warehouse.load(lake)
    (counts,) = rows_of(
        warehouse,
        "select count(*), count(category), count(*) filter (where rank < 1) from marts.recommendation_list",
    )
    assert counts[0] == lake.read(RECOMMENDATIONS).num_rows
    assert counts[1] > 0
    assert counts[2] == 0


def test_marts_see_a_load_that_runs_in_parallel(tmp_path: Path) -> None:
    lake, warehouse, days = new_lake(tmp_path), new_warehouse(tmp_path), partitions(10, ["uk"])
    few = pa.concat_tables([lake_rows(INTEREST_SERIES, day, 20) for day in days])
    many = pa.concat_tables([few] * (1_000_000 // few.num_rows))
    lake.publish(INTEREST_SERIES, many, lake.claim(INTEREST_SERIES, days, "test"))
    warehouse.load(lake)
    score = pytest.approx(pc.sum(many["score"]).as_py())
    assert rows_of(warehouse, "select sum(score) from marts.segment_trends") == [(score,)]


def test_only_the_last_days_of_daily_recommendations_are_loaded(tmp_path: Path) -> None:
    lake, warehouse = new_lake(tmp_path), new_warehouse(tmp_path)
    for days in (RECENT_DAYS, RECENT_DAYS + 2):
        fill(lake, partitions(days, ["uk"]), rows=2, tables=["recommendations", "shift_alerts"])
        warehouse.load(lake)
        held = "select count(distinct day), max(day) - min(day) + 1 from marts.recommendation_list"
        assert rows_of(warehouse, held) == [(RECENT_DAYS, RECENT_DAYS)]
        assert rows_of(warehouse, "select count(distinct day) from marts.alerts") == [(days,)]


def test_base_columns_are_columns_of_the_contracts() -> None:
    for name, columns in BASE_COLUMNS.items():
        assert set(columns) <= set(TABLES[name].schema.names)
