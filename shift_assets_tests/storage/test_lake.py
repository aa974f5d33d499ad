"""Laws of the lake: what a reader may see, whatever writers do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.contracts.table import Column, ContractError, Table
from shift_assets.errors import PermanentError
from shift_assets.storage.fence import FencedOut
from shift_assets.storage.lake import EMPTY_DIGEST, MissingPartition, content_digests
from shift_assets_tests.lakes import FIRST_DAY, fill, new_lake, partitions, rows_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HERE, THERE = Partition(FIRST_DAY, "uk"), Partition(FIRST_DAY, "rest")


def versions(home: Path, table: str) -> int:
    return len(list((home / "lake" / table / "_delta_log").glob("*.json")))


@pytest.mark.parametrize("name", TABLES)
def test_what_is_published_is_read_back(tmp_path: Path, name: str) -> None:
    table, lake = TABLES[name], new_lake(tmp_path)
    rows = rows_of(table, HERE, 10)
    lake.publish(table, rows, lake.claim(table, [HERE], "test"))
    found = lake.read(table)
    assert found.schema == table.schema
    assert content_digests(found) == content_digests(rows)


def test_unchanged_rows_make_no_commit(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), INTEREST_SERIES
    rows = rows_of(table, HERE, 10)
    first = lake.publish(table, rows, lake.claim(table, [HERE], "a"))
    before = versions(tmp_path, table.name)
    again = lake.publish(table, rows.take(list(reversed(range(rows.num_rows)))), lake.claim(table, [HERE], "b"))
    assert again == first
    assert versions(tmp_path, table.name) == before


def test_only_the_partition_that_changed_is_replaced(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), INTEREST_SERIES
    fill(lake, [HERE, THERE], tables=[table.name])
    before = lake.files(table)
    both = pa.concat_tables([rows_of(table, HERE, 20, seed=1), rows_of(table, THERE, 20)])
    lake.publish(table, both, lake.claim(table, [HERE, THERE], "test"))
    after = lake.files(table)
    assert after[THERE] == before[THERE]
    assert after[HERE] != before[HERE]


def test_an_empty_partition_exists_and_a_missing_one_does_not(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), SHIFT_ALERTS
    lake.publish(table, table.empty(), lake.claim(table, [HERE], "test"))
    assert lake.require(table, [HERE])[HERE].rows == 0
    assert lake.require(table, [HERE])[HERE].digest == EMPTY_DIGEST
    with pytest.raises(MissingPartition, match=r"shift-assets run --from 2026-03-01 --to 2026-03-01 --segment rest"):
        lake.require(table, [HERE, THERE])


def test_rows_outside_the_claim_are_refused(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), INTEREST_SERIES
    with pytest.raises(ValueError, match="not asked for"):
        lake.publish(table, rows_of(table, THERE, 3), lake.claim(table, [HERE], "test"))
    assert lake.published(table) == {}


def test_rows_that_break_the_contract_are_refused(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), INTEREST_SERIES
    rows = rows_of(table, HERE, 3).drop_columns(["score"])
    with pytest.raises(ContractError, match="score"):
        lake.publish(table, rows, lake.claim(table, [HERE], "test"))


def test_a_superseded_attempt_publishes_nothing(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), INTEREST_SERIES
    slow = lake.claim(table, [HERE, THERE], "slow")
    quick = lake.claim(table, [HERE], "quick")
    with pytest.raises(FencedOut, match="quick"):
        lake.publish(table, rows_of(table, THERE, 5), slow)
    lake.publish(table, rows_of(table, HERE, 5), quick)
    assert set(lake.published(table)) == {HERE}


def test_a_range_of_days_and_segments_is_read(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), INTEREST_SERIES
    fill(lake, partitions(3), tables=[table.name])
    found = lake.read(table, first_day=date(2026, 3, 2), segments=["uk"], columns=["segment", "day"])
    assert found.column_names == ["segment", "day"]
    assert set(found["day"].to_pylist()) == {date(2026, 3, 2), date(2026, 3, 3)}
    assert set(found["segment"].to_pylist()) == {"uk"}


def test_a_dropped_partition_is_gone_and_its_bytes_after_the_vacuum(tmp_path: Path) -> None:
    lake, table = new_lake(tmp_path), INTEREST_SERIES
    fill(lake, [HERE, THERE], tables=[table.name])
    deleted = lake.files(table)[HERE]
    assert lake.drop(table, [HERE], "retention") == 1
    assert set(lake.published(table)) == {THERE}
    lake.vacuum(table, retention_hours=0)
    assert not deleted.exists()
    assert lake.read(table).num_rows > 0


_WRITER = """
import sys, time
from pathlib import Path
from shift_assets.contracts.registry.interest import INTEREST_SERIES
from shift_assets_tests.lakes import new_lake, partitions, rows_of
import pyarrow as pa
lake, both = new_lake(Path(sys.argv[1])), partitions(1)
print("ready", flush=True)
for seed in range(10_000):
    rows = pa.concat_tables([rows_of(INTEREST_SERIES, p, 5 + seed % 7, seed=seed % 7) for p in both])
    lake.publish(INTEREST_SERIES, rows, lake.claim(INTEREST_SERIES, both, "writer"))
"""


def test_a_killed_writer_leaves_an_old_or_a_new_state(tmp_path: Path) -> None:
    lake, both = new_lake(tmp_path), partitions(1)
    states = [{p: content_digests(rows_of(INTEREST_SERIES, p, 5 + s, seed=s))[p] for p in both} for s in range(7)]
    for delay_seconds in (0.03, 0.11, 0.27, 0.4):
        with subprocess.Popen([sys.executable, "-c", _WRITER, tmp_path], stdout=subprocess.PIPE, cwd=ROOT) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay_seconds)
            os.kill(writer.pid, signal.SIGKILL)
        rows = lake.read(INTEREST_SERIES)
        assert content_digests(rows) in [*states, {}]
    fill(lake, both, tables=[INTEREST_SERIES.name])  # and the next writer is not hindered


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 11))
def test_a_digest_knows_no_order_and_no_chunks(order: list[int], cut: int) -> None:
    rows = rows_of(SHIFT_ALERTS, HERE, 12, users=1000)
    shuffled = rows.take(order)
    chunked = pa.concat_tables([shuffled.slice(0, cut), shuffled.slice(cut)])
    assert content_digests(chunked) == content_digests(rows)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 11), st.sampled_from(["drop", "double"]))
def test_a_digest_knows_every_row(place: int, change: str) -> None:
    rows = rows_of(SHIFT_ALERTS, HERE, 12, users=1000)
    others = [n for n in range(rows.num_rows) if n != place]
    changed = rows.take(others if change == "drop" else [*range(rows.num_rows), place])
    assert content_digests(changed) != content_digests(rows)


def test_a_column_added_later_is_null_in_older_partitions(tmp_path: Path) -> None:
    """Older partitions are read without a new column; if it may not be null, they must be materialised again."""
    lake = new_lake(tmp_path)
    name = Column("name", pa.string(), "A name")
    before = Table("grown", "one name", ("name",), "tests", (name,))
    after = Table("grown", "one name", ("name",), "tests", (name, Column("n", pa.int64(), "A number", nullable=True)))
    for number, table in enumerate((before, after), start=1):
        partition = Partition(date(2024, 1, number), "all")
        row = {"day": partition.day, "segment": "all", "name": "a", "n": 3}
        rows = pa.Table.from_pylist([row], schema=table.schema)
        lake.publish(table, rows, lake.claim(table, [partition], "test"))
    assert lake.read(after)["n"].to_pylist() == [None, 3]
    required = Table("grown", "one name", ("name",), "tests", (name, Column("n", pa.int64(), "A number")))
    with pytest.raises(PermanentError, match=r"2024-01-01\|all .* column n; materialise it again"):
        lake.read(required)
