"""Open DuckDB with a memory limit, for either engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

MEMORY_LIMIT = "1GB"
"""Above it DuckDB spills to disk; with two parsers and a chunk's Arrow tables a run needs less than 4 GiB."""


@contextmanager
def bounded_connection(workspace: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection in UTC that uses at most MEMORY_LIMIT and spills into the folder `workspace`."""
    with duckdb.connect(
        config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(workspace / "spill")}
    ) as connection:
        connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
        yield connection
