"""The Spark engine, through Spark Connect: a shared local server, or a cluster.

On a cluster the package must be installed on the workers, and landing and staging must be on a file system that the
driver and the workers share. Spark only writes into new folders; the caller publishes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import sqlglot

from shift_assets.ingest.cleaning.engines.bounded_duckdb import bounded_connection
from shift_assets.ingest.cleaning.engines.engine import EngineError
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parsed_schema import PARSED
from shift_assets.ingest.rows.parser import FileTally, parse_file

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TASK_BYTES = 4 * 1024 * 1024
"""Minimum file bytes per task, for small files: every task starts a Python worker (0.5 s)."""
SESSION_CONFIGURATION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "lz4_raw",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}
_SPARK_TYPES = {
    pa.date32(): "date",
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.bool_(): "boolean",
    pa.float64(): "double",
    pa.binary(): "binary",
    pa.timestamp("us", tz="UTC"): "timestamp",
}
PARSED_COLUMNS = ", ".join(f"{field.name} {_SPARK_TYPES[field.type]}" for field in PARSED)


class SparkEngine:
    """Parses files in `mapInArrow` tasks and runs the set logic as Spark SQL; see `Engine` for the methods."""

    def __init__(self, session: SparkSession, workspace: Path) -> None:
        self._session = session
        self._workspace = workspace
        self._written = 0

    @classmethod
    @contextmanager
    def connect(cls, remote: str, workspace: Path) -> Iterator[SparkEngine]:
        """Open a session at `remote`; a local server keeps running for the next run.

        Raises:
            EngineError: The server cannot be started or reached.
        """
        with spark_session(remote) as session:
            yield cls(session, workspace)

    def parse(self, context: ParseContext, files: Sequence[SourceFile], folder: Path) -> list[FileTally]:
        tasks = pack_tasks(files)
        tally_folder = folder.with_name(f"{folder.name}-tallies")
        tally_folder.mkdir(parents=True)
        descriptors = self._session.range(0, len(tasks), 1, numPartitions=max(len(tasks), 1))
        _write(descriptors.mapInArrow(_parser(context, tasks, tally_folder), PARSED_COLUMNS), folder)
        return [FileTally(*entry) for file in tally_folder.iterdir() for entry in json.loads(file.read_bytes())]

    def register(self, name: str, paths: Sequence[Path]) -> None:
        self._session.read.parquet(*(_file_url(path) for path in paths)).createOrReplaceTempView(name)

    def define_view(self, name: str, sql: str) -> None:
        self._query(sql).createOrReplaceTempView(name)

    def materialize(self, name: str, sql: str) -> None:
        self.register(name, [self._materialized_folder(sql)])

    def rows(self, sql: str) -> pa.Table:
        query = sqlglot.parse_one(sql, read="duckdb")
        ordered = query.args.get("order")
        order = [key.this.name for key in ordered.expressions] if ordered else []
        query.set("order", None)  # Spark would run the query twice, once to find the ranges of its partitions
        parts = [str(part) for part in self._materialized_folder(query.sql("duckdb")).glob("*.parquet")]
        with bounded_connection(self._workspace) as connection:
            answer = connection.read_parquet(parts)
            return (answer.order(", ".join(order)) if order else answer).to_arrow_table()

    def _query(self, sql: str) -> DataFrame:
        return self._session.sql(sqlglot.transpile(sql, read="duckdb", write="spark")[0])

    def _materialized_folder(self, sql: str) -> Path:
        """Write the result of `sql` into a new folder; return the folder."""
        self._written += 1
        folder = self._workspace / f"spark-{self._written:04d}"
        _write(self._query(sql), folder)
        return folder


def pack_tasks(files: Sequence[SourceFile]) -> list[tuple[SourceFile, ...]]:
    """Divide files into tasks: a file of TASK_BYTES or more alone, smaller ones together up to that size."""
    tasks: list[tuple[SourceFile, ...]] = []
    waiting: list[SourceFile] = []
    size = 0
    for file in sorted(files, key=lambda file: -file.size):
        waiting.append(file)
        size += file.size
        if size >= TASK_BYTES:
            tasks.append(tuple(waiting))
            waiting, size = [], 0
    return [*tasks, tuple(waiting)] if waiting else tasks


def _parser(
    context: ParseContext, tasks: Sequence[tuple[SourceFile, ...]], tally_folder: Path
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that a Spark worker runs: task numbers in, PARSED batches out, counts into `tally_folder`.

    A task that Spark retries overwrites its own counts. The context with its key is part of the pickled function: no
    plan, log or page shows it.
    """

    def parse(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                tallies = [FileTally() for _ in tasks[number]]
                for file, tally in zip(tasks[number], tallies, strict=True):
                    yield from parse_file(context, file, tally)
                (tally_folder / f"{number}.json").write_text(json.dumps([astuple(tally) for tally in tallies]))

    return parse


def _write(frame: DataFrame, folder: Path) -> None:
    frame.write.mode("error").parquet(_file_url(folder))


def _file_url(path: Path) -> str:
    return f"file:{path.absolute()}"


@contextmanager
def spark_session(remote: str) -> Iterator[SparkSession]:
    """Open a session at `remote` for a `with` block; a local server keeps running afterwards.

    Raises:
        EngineError: The server cannot be started or reached.
    """
    session = _session(remote)
    try:
        yield session
    finally:
        session.stop()


def _session(remote: str) -> SparkSession:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    from shift_assets.ingest.cleaning.engines.local_spark import prepare_local_server

    local = remote.startswith("local")
    if local:
        prepare_local_server()
    try:
        session = SparkSession.builder.remote(remote).getOrCreate()
        for key, value in SESSION_CONFIGURATION.items():
            session.conf.set(key, value)
        if local:
            session.conf.set("spark.sql.shuffle.partitions", str(2 * (os.cpu_count() or 1)))
    except PySparkException as error:
        raise EngineError(
            f"Spark at {remote!r} cannot be used: {error}; check spark_remote, or set engine: embedded"
        ) from error
    return session
