"""Dagster's SQLite event log, with its connections kept open.

Dagster creates an engine, and with it an empty statement cache and a new connection, for every event. With pooled
engines and SQLite's `synchronous=normal` (safe in WAL mode if the process crashes; a power cut may lose the last
events, never the file) a materialised partition costs 5 ms instead of 30 (benchmarks/RESULTS.md).

`_connect` is private to Dagster: the pin in pyproject.toml is exact, and a test is the canary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

BUSY_TIMEOUT_SECONDS = 60
OPEN_FILES_AT_MOST = 64
"""Every run has its own file; the engines that were unused for longest are closed."""


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """Uses the files and tables of `SqliteEventLogStorage`; either class reads what the other wrote."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> PooledSqliteEventLogStorage:
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.pop(shard, None)
        if engine is None:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _set_synchronous_normal)
            if len(self._engines) >= OPEN_FILES_AT_MOST:
                self._engines.pop(next(iter(self._engines))).dispose()
        self._engines[shard] = engine
        return engine

    def dispose(self) -> None:
        super().dispose()
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()


def _set_synchronous_normal(connection: Any, _: Any) -> None:
    connection.execute("pragma synchronous = normal")
