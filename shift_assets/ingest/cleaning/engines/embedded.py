"""The embedded engine: parses in child processes and runs the set logic in DuckDB, without Java."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from shift_assets.ingest.cleaning.engines.bounded_duckdb import bounded_connection
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parsed_schema import PARSED
from shift_assets.ingest.rows.parser import FileTally, parse_file

POOL_FROM_BYTES = 8 * 1024 * 1024
"""File bytes below which parsing in this process is faster than starting two children (1.5 s of imports)."""
REPEATING_COLUMNS = ["folder_day", "source_file", "day", "segment", "segment_known", "category", "behavior", "reason"]
"""Columns worth a dictionary encoding; the others rarely repeat within a batch."""
PARSED_FILE = {
    "use_dictionary": REPEATING_COLUMNS,
    "compression": {name: "lz4" if name == "raw" else "none" for name in PARSED.names},
    "write_statistics": ["day", "segment"],
}
"""Encoding of parsed rows in staging. They are read back within minutes: only the raw bytes are compressed."""


class EmbeddedEngine:
    """Parses files in child processes and runs SQL in DuckDB; see `Engine` for the methods."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, stack: ExitStack) -> None:
        self._connection = connection
        self._stack = stack
        self._pool: ProcessPoolExecutor | None = None

    @classmethod
    @contextmanager
    def start(cls, workspace: Path) -> Iterator[EmbeddedEngine]:
        """Start an engine that spills into the folder `workspace`."""
        with ExitStack() as stack:
            connection = stack.enter_context(bounded_connection(workspace))
            yield cls(connection, stack)

    def parse(self, context: ParseContext, files: Sequence[SourceFile], folder: Path) -> list[FileTally]:
        folder.mkdir(parents=True)
        targets = {file: folder / f"{number:06d}.parquet" for number, file in enumerate(files)}
        if len(files) < 2 or sum(file.size for file in files) < POOL_FROM_BYTES:
            return [parse_to_parquet(context, file, target) for file, target in targets.items()]
        pool = self._worker_pool()
        largest_first = sorted(targets, key=lambda file: -file.size)
        pending = [pool.submit(parse_to_parquet, context, file, targets[file]) for file in largest_first]
        try:
            return [done.result() for done in as_completed(pending)]
        finally:
            for future in pending:
                future.cancel()

    def register(self, name: str, paths: Sequence[Path]) -> None:
        files = [str(file) for path in paths for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
        self._connection.read_parquet(files).create_view(name, replace=True)

    def define_view(self, name: str, sql: str) -> None:
        self._connection.execute(f'create or replace view "{name}" as {sql}')

    def materialize(self, name: str, sql: str) -> None:
        self._connection.execute(f'create or replace table "{name}" as {sql}')

    def rows(self, sql: str) -> pa.Table:
        return self._connection.sql(sql).to_arrow_table()

    def _worker_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = self._stack.enter_context(
                ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), initializer=exit_with_parent)
            )
        return self._pool


def parse_to_parquet(context: ParseContext, file: SourceFile, target: Path) -> FileTally:
    """Write the PARSED rows of one source file to the Parquet file `target`; return the reader's counts."""
    tally = FileTally()
    with pq.ParquetWriter(target, PARSED, **PARSED_FILE) as writer:
        for batch in parse_file(context, file, tally):
            writer.write_batch(batch)
    return tally


def exit_with_parent() -> None:
    """End this child when its parent ends: otherwise the child of a killed run waits for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
