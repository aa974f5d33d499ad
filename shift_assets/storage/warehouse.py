"""The private warehouse: a DuckDB file with the part of the lake that BI needs, and the marts computed from it.

It is a cache. Only partitions whose digest changed are loaded, in one transaction with the marts; a file that is
missing, damaged or has another schema is rebuilt from the lake. BI never opens it: see `bi_generations`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
from filelock import FileLock
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from shift_assets.contracts.marts import (
    BASE_COLUMNS,
    COUNTED_TABLES,
    LOADED_PARTITIONS,
    MARTS,
    PUBLIC,
    RECENT_DAYS,
    RECENT_TABLES,
)
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.sql_text import read_sql
from shift_assets.contracts.table import Table
from shift_assets.storage.duckdb_file import BrokenFileError, identifier
from shift_assets.storage.lake import Lake, Published

ConnectionFactory = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
"""Opens the file of the warehouse for writing, and retries while another process has it open."""

_logger = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = 600.0
_DAMAGE = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException, duckdb.SerializationException)
_SCHEMAS = ("base", "marts", "public")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Result of a load."""

    partitions: dict[str, int]
    """Partitions loaded or removed, by lake table; tables without changes are left out."""
    rebuilt: bool
    """Whether the file was missing, damaged or had another schema."""
    refreshed: bool
    """Whether the marts were recomputed."""


class Warehouse:
    """The warehouse at `path`. A lock file in its folder allows one writing process at a time.

    Args:
        path: The DuckDB file.
        minimum_users: Smallest number of users that a public cell may show.
        connect: Opens the file; plain DuckDB by default.
    """

    def __init__(self, path: Path, minimum_users: int, connect: ConnectionFactory | None = None) -> None:
        self.path = path
        self._connect = connect or partial(open_file, path)
        self._minimum_users = minimum_users
        self._lock = FileLock(path.with_name(".writer.lock"), timeout=LOCK_WAIT_SECONDS)

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection under the writer's lock.

        Raises:
            filelock.Timeout: Another process is still writing after LOCK_WAIT_SECONDS.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self._connect() as connection:
            try:
                self.path.chmod(0o600)
                yield connection
            finally:
                connection.close()

    def load(self, lake: Lake) -> Loaded:
        """Update base tables and marts to the state of the lake.

        Raises:
            BrokenFileError: Rows were lost while loading.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            rebuilt = not self._usable()
            if rebuilt:
                self.discard()
            try:
                return self._load(lake, rebuilt)
            except _DAMAGE:
                # Damage may only show when a block is read; a fault of the lake itself is raised by the second attempt.
                self.discard()
                return self._load(lake, rebuilt=True)

    def discard(self) -> None:
        """Delete the file; the next load rebuilds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            for name in (self.path.name, f"{self.path.name}.wal"):
                self.path.with_name(name).unlink(missing_ok=True)

    def _usable(self) -> bool:
        if not self.path.exists():
            return False
        try:
            connection = duckdb.connect(str(self.path))
        except duckdb.Error as error:
            return "Could not set lock" in str(error)  # intact, but open elsewhere: `connection` waits for it
        try:
            return connection.execute("select base_shape from base.fingerprints").fetchone() == (_base_shape(),)
        except duckdb.Error:
            return False
        finally:
            connection.close()

    def _load(self, lake: Lake, rebuilt: bool) -> Loaded:
        started = time.monotonic()
        with self.connection() as connection:
            connection.begin()
            _prepare(connection)
            partitions = {}
            for name in (*BASE_COLUMNS, *COUNTED_TABLES):
                moved = _load_table(connection, lake, TABLES[name])
                if moved:
                    partitions[name] = moved
            shape = _marts_shape(self._minimum_users)
            stale = connection.execute("select marts_shape from base.fingerprints").fetchone() != (shape,)
            refreshed = stale or bool(partitions)
            if refreshed:
                _refresh(connection, self._minimum_users)
                connection.execute("delete from base.fingerprints")
                connection.execute("insert into base.fingerprints values (?, ?)", [_base_shape(), shape])
            connection.commit()
            changed, seconds = sum(partitions.values()), time.monotonic() - started
            _logger.info("loaded the warehouse: %d partitions changed in %.1f s", changed, seconds)
            return Loaded(partitions, rebuilt, refreshed)


@contextmanager
def open_file(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB file with the options and the patience of Dagster's resource, for commands outside Dagster.

    Raises:
        duckdb.IOException: another process kept it open.
    """
    with _connected(path) as connection:
        yield connection


@retry(
    retry=retry_if_exception_type(duckdb.IOException),
    stop=stop_after_attempt(11),
    wait=wait_exponential(multiplier=0.1),
    reraise=True,
)
def _connected(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), config={"custom_user_agent": "shift-assets"})


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    for schema in _SCHEMAS:
        connection.execute(f"create schema if not exists {schema}")
    connection.execute("create table if not exists base.fingerprints (base_shape varchar, marts_shape varchar)")
    for name, columns in BASE_COLUMNS.items():
        _declare(connection, f"base.{identifier(name)}", TABLES[name].empty().select(columns))
    _declare(connection, "base.loaded_partitions", LOADED_PARTITIONS.empty())


def _declare(connection: duckdb.DuckDBPyConnection, name: str, empty: pa.Table) -> None:
    # Not `create table as from` an empty Arrow table: DuckDB 1.5.6 then hides what a parallel insert of the same
    # transaction adds, until the file is opened again, and the marts would be computed on empty tables.
    relation = connection.from_arrow(empty)
    columns = ", ".join(f"{identifier(n)} {kind}" for n, kind in zip(relation.columns, relation.types, strict=True))
    connection.execute(f"create table if not exists {name} ({columns})")


def _load_table(connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table) -> int:
    """Replace the partitions of `table` that changed in the lake; return how many."""
    existing = lake.published(table)
    if existing and table.name in RECENT_TABLES:
        oldest = max(existing).day - timedelta(days=RECENT_DAYS - 1)
        existing = {partition: published for partition, published in existing.items() if partition.day >= oldest}
    known = connection.execute(
        "select day, segment, digest from base.loaded_partitions where table_name = ?", [table.name]
    ).fetchall()
    digests = {Partition(day, segment): digest for day, segment, digest in known}
    changed = {p: published for p, published in existing.items() if digests.get(p) != published.digest}
    moved = sorted(changed.keys() | (digests.keys() - existing.keys()))
    if not moved:
        return 0
    connection.register("moved", _loaded_rows(table, {p: existing.get(p) or Published(0, "", "") for p in moved}))
    connection.register("arrived", _loaded_rows(table, changed))
    if table.name in BASE_COLUMNS:
        paths = [str(lake.root / table.name / published.path) for published in changed.values() if published.rows]
        _replace_rows(connection, table, paths)
    connection.execute(
        "delete from base.loaded_partitions as old using moved "
        "where old.table_name = moved.table_name and old.day = moved.day and old.segment = moved.segment"
    )
    connection.execute("insert into base.loaded_partitions by name from arrived")
    connection.unregister("moved")
    connection.unregister("arrived")
    if table.name in BASE_COLUMNS:
        _require_all_rows(connection, table.name)
    return len(moved)


def _replace_rows(connection: duckdb.DuckDBPyConnection, table: Table, paths: list[str]) -> None:
    """Delete the rows of the partitions in the view `moved`, and insert those of the files."""
    target = f"base.{identifier(table.name)}"
    same = "old.day = moved.day and old.segment = moved.segment"
    connection.execute(f"delete from {target} as old using moved where {same}")  # noqa: S608 - declared names only
    if paths:
        columns = ", ".join(identifier(column) for column in BASE_COLUMNS[table.name])
        # With explicit types, since a segment of digits would be read as a number.
        files = "read_parquet($paths, hive_partitioning = true, hive_types = {'day': date, 'segment': varchar})"
        rows = f"select {columns} from {files}"  # noqa: S608 - declared names only
        connection.execute(f"insert into {target} by name {rows}", {"paths": paths})


def _require_all_rows(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    expected = "select coalesce(sum(rows), 0) from base.loaded_partitions where table_name = ?"
    ((published,),) = connection.execute(expected, [name]).fetchall()
    ((loaded,),) = connection.table(f"base.{identifier(name)}").count("*").fetchall()
    if loaded != published:
        raise BrokenFileError(f"warehouse: {name} holds {loaded} rows instead of {published}; nothing was loaded")


def _loaded_rows(table: Table, partitions: Mapping[Partition, Published]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "day": partition.day,
                "segment": partition.segment,
                "table_name": table.name,
                "digest": published.digest,
                "rows": published.rows,
            }
            for partition, published in partitions.items()
        ],
        schema=LOADED_PARTITIONS.schema,
    )


def _refresh(connection: duckdb.DuckDBPyConnection, minimum_users: int) -> None:
    connection.execute("set variable minimum_users = ?", [minimum_users])
    for schema, table, text in _marts():
        target = f"{schema}.{identifier(table.name)}"
        connection.execute(f"drop table if exists {target}")
        _declare(connection, target, table.empty())
        connection.execute(f"insert into {target} by name {text}")


def _marts() -> Iterator[tuple[str, Table, str]]:
    """Yield schema, table and SQL text of each mart, in the order in which they are computed."""
    for table in MARTS.values():
        yield "marts", table, read_sql(f"marts/{table.name}.sql")
    for table in PUBLIC.values():
        yield "public", table, read_sql(f"public/{table.name}.sql")


def _base_shape() -> str:
    shapes = [f"{name}: {TABLES[name].schema.to_string()} {columns}" for name, columns in BASE_COLUMNS.items()]
    return _fingerprint([*shapes, *COUNTED_TABLES])


def _marts_shape(minimum_users: int) -> str:
    shapes = [f"{schema}.{table.name}: {table.schema.to_string()} {text}" for schema, table, text in _marts()]
    return _fingerprint([*shapes, str(minimum_users)])


def _fingerprint(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
