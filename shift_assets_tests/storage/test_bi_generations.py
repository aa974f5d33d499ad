"""Laws of the published files: readers are never blocked, and see one publication whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from shift_assets.contracts.bi_files import ACTIVATION_FILE, BI_FILES, PUBLIC_FILE
from shift_assets.storage.bi_generations import current, generations, publish, roll_back
from shift_assets.storage.duckdb_file import BrokenFileError, verify
from shift_assets.storage.warehouse import Warehouse
from shift_assets_tests.lakes import fill, new_lake, partitions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A warehouse loaded with one day of two segments."""
    made = Warehouse(tmp_path / "bi" / "warehouse.duckdb", 3)
    change(tmp_path, made, seed=0)
    return made


def change(home: Path, warehouse: Warehouse, seed: int) -> None:
    lake = new_lake(home)
    fill(lake, partitions(1), seed=seed, rows=10 + seed, tables=["interest_series", "shift_signals", "shift_alerts"])
    warehouse.load(lake)


def test_a_publication_describes_itself(warehouse: Warehouse) -> None:
    folder = warehouse.path.parent
    published = publish(warehouse, folder, keep_generations=2)
    for file in BI_FILES:
        found = current(folder, file)
        assert found is not None
        assert (found.generation, found.as_of_day) == (1, partitions(1)[0].day)
        assert found.rows == published[file.name].rows
        verify(found.path, found.rows)
        assert found.path.stat().st_mode & 0o777 == file.mode
        assert found.path.read_bytes()[8:20] == b"DUCK" + (64).to_bytes(8, "little")  # readable since DuckDB 0.9
    assert sorted(path.name for path in folder.iterdir()) == [
        ".writer.lock",
        "bi_activation.duckdb",
        "bi_public.duckdb",
        "warehouse.duckdb",
    ]


def test_every_table_and_column_has_a_comment(warehouse: Warehouse) -> None:
    for publication in publish(warehouse, warehouse.path.parent, 2).values():
        connection = duckdb.connect(str(publication.path), read_only=True)
        tables = connection.execute("select table_name, comment from duckdb_tables()").fetchall()
        columns = connection.execute(
            "select table_name, column_name, comment from duckdb_columns() where not internal"
        ).fetchall()
        connection.close()
        assert len(tables) == len(publication.rows) + 1
        assert [row for row in (*tables, *columns) if not row[-1]] == []


def test_the_public_file_names_no_user_and_no_alert(warehouse: Warehouse) -> None:
    publication = publish(warehouse, warehouse.path.parent, 2)[PUBLIC_FILE.name]
    connection = duckdb.connect(str(publication.path), read_only=True)
    columns = {
        row[0] for row in connection.execute("select column_name from duckdb_columns() where not internal").fetchall()
    }
    connection.close()
    assert columns.isdisjoint({"user_id", "alert_id", "raw", "item_id"})


def test_publishing_the_same_content_is_no_new_generation(warehouse: Warehouse) -> None:
    folder = warehouse.path.parent
    first = publish(warehouse, folder, 2)
    before = {file.name: (folder / f"{file.name}.duckdb").stat().st_ino for file in BI_FILES}
    again = publish(warehouse, folder, 2)
    assert {p.changed for p in first.values()} == {True}
    assert {p.changed for p in again.values()} == {False}
    assert {file.name: (folder / f"{file.name}.duckdb").stat().st_ino for file in BI_FILES} == before


def test_old_generations_are_kept_and_can_return(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = warehouse.path.parent
    digests = {}
    for seed in range(1, 5):
        change(tmp_path, warehouse, seed)
        digests[seed] = publish(warehouse, folder, 2)[ACTIVATION_FILE.name].digests
    assert list(generations(folder, ACTIVATION_FILE)) == [2, 3]
    roll_back(warehouse, folder, ACTIVATION_FILE, 2)
    returned = current(folder, ACTIVATION_FILE)
    assert returned is not None
    assert (returned.generation, returned.digests) == (2, digests[2])
    assert returned.path.stat().st_mode & 0o777 == 0o640
    after = publish(warehouse, folder, 2)[ACTIVATION_FILE.name]
    assert (after.generation, after.digests) == (5, digests[4])
    with pytest.raises(LookupError, match="no generation 1; kept: 3, 4"):
        roll_back(warehouse, folder, ACTIVATION_FILE, 1)


def test_a_damaged_published_file_is_published_again(warehouse: Warehouse) -> None:
    folder = warehouse.path.parent
    path = publish(warehouse, folder, 2)[PUBLIC_FILE.name].path
    path.write_bytes(b"damaged")
    path.with_name(path.name + ".wal").write_bytes(b"stray log")
    assert publish(warehouse, folder, 2)[PUBLIC_FILE.name].changed
    assert current(folder, PUBLIC_FILE) is not None


def test_a_file_that_lacks_rows_does_not_verify(warehouse: Warehouse) -> None:
    publication = publish(warehouse, warehouse.path.parent, 2)[PUBLIC_FILE.name]
    with pytest.raises(BrokenFileError, match="shift_kinds"):
        verify(publication.path, {**publication.rows, "shift_kinds": 1000})


_READER = """
import sys, time, duckdb
from pathlib import Path
path, stop, holds = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "holds"
seen, reads, connection = set(), 0, None
while not stop.exists():
    if connection is None:
        connection = duckdb.connect(path, read_only=True)
    described = connection.execute("select generation, table_name, rows from _generation").fetchall()
    assert len({generation for generation, _, _ in described}) == 1
    for generation, table, rows in described:
        assert connection.execute(f'select count(*) from "{table}"').fetchone() == (rows,), (table, rows)
        seen.add(generation)
    reads += 1
    if reads == 1:
        print("reading", flush=True)
    if not holds:
        connection.close()
        connection = None
    time.sleep(0.02)  # leave the publisher its core
print(reads, len(seen))
"""


def test_readers_never_block_a_publication_and_never_see_half_of_one(warehouse: Warehouse, tmp_path: Path) -> None:
    folder, stop = warehouse.path.parent, tmp_path / "stop"
    publish(warehouse, folder, 2)
    path = folder / "bi_activation.duckdb"
    readers = [
        subprocess.Popen([sys.executable, "-c", _READER, path, stop, how], stdout=subprocess.PIPE, text=True)
        for how in ("opens", "holds")
    ]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
        for seed in range(1, 11):
            change(tmp_path, warehouse, seed)
            assert publish(warehouse, folder, 2)[ACTIVATION_FILE.name].changed
    finally:
        stop.touch()
        answers = [reader.communicate(timeout=60)[0].split() for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    (opened, generations_opened), (held, generations_held) = [[int(n) for n in answer] for answer in answers]
    assert opened > 3
    assert generations_opened > 1
    assert held > 3
    assert generations_held == 1


_PUBLISHER = """
import sys
from pathlib import Path
from shift_assets.storage.bi_generations import publish
from shift_assets.storage.warehouse import Warehouse
from shift_assets_tests.storage.test_bi_generations import change
home = Path(sys.argv[1])
warehouse = Warehouse(home / "bi" / "warehouse.duckdb", 3)
print("ready", flush=True)
for seed in range(1, 1000):
    change(home, warehouse, seed % 5)
    publish(warehouse, home / "bi", 2)
"""


def test_a_killed_publisher_leaves_readable_files_and_no_trace(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = warehouse.path.parent
    publish(warehouse, folder, 2)
    for delay_seconds in (0.15, 0.35, 0.6):
        with subprocess.Popen(
            [sys.executable, "-c", _PUBLISHER, tmp_path], stdout=subprocess.PIPE, cwd=ROOT
        ) as publisher:
            assert publisher.stdout is not None
            publisher.stdout.readline()
            time.sleep(delay_seconds)
            os.kill(publisher.pid, signal.SIGKILL)
        for file in BI_FILES:
            found = current(folder, file)
            assert found is not None
            verify(found.path, found.rows)
    change(tmp_path, warehouse, 9)
    publish(warehouse, folder, 2)
    assert list(folder.glob(".building-*")) == []
