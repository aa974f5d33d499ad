"""Build DuckDB files for other tools: under a private name, with comments, verified, then moved into place.

Which tables a file contains does not belong here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from shift_assets.contracts.comments import column_comment
from shift_assets.contracts.table import Table
from shift_assets.errors import PermanentError

STORAGE_VERSION = "v1.0.0"
"""Oldest storage format that DuckDB writes: BI tools bundle older clients than ours."""

ALIAS = "built"
"""Name under which a file is attached while it is built."""


class BrokenFileError(PermanentError):
    """A file that was just built does not contain what was written; nothing was moved into place."""


def literal(text: str) -> str:
    """Quote `text` as an SQL string, for the few statements that bind no parameters (ATTACH, COMMENT, COPY TO).

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Quote the name of a declared table or column."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def building(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Attach a new file at `path` as `built`; checkpoint and detach it at the end.

    Raises:
        BrokenFileError: A write-ahead log is left over.
    """
    connection.execute(f"attach {literal(str(path))} as {ALIAS} (storage_version {literal(STORAGE_VERSION)})")
    try:
        yield
        connection.execute(f"checkpoint {ALIAS}")
    finally:
        connection.execute(f"detach {ALIAS}")
    if path.with_name(path.name + ".wal").exists():
        raise BrokenFileError(f"{path.name}: a write-ahead log is left over; check the free disk space and run again")


def comment(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Write grain, key and the meaning of every column into the `built` file's copy of `table`."""
    target = f"{ALIAS}.main.{identifier(table.name)}"
    about = f"Grain: {table.grain}. Key: {', '.join(table.key)}. For: {table.consumer}."
    connection.execute(f"comment on table {target} is {literal(about)}")
    present = {row[0] for row in connection.execute(f"describe {target}").fetchall()}
    for column in table.columns:
        if column.name in present:
            connection.execute(
                f"comment on column {target}.{identifier(column.name)} is {literal(column_comment(column))}"
            )


def verify(path: Path, rows: Mapping[str, int]) -> None:
    """Read a built file as a BI tool would.

    Args:
        path: The file.
        rows: Expected row count of each table.

    Raises:
        BrokenFileError: A table has another number of rows.
    """
    connection = duckdb.connect(str(path), read_only=True)
    try:
        for table, expected in rows.items():
            count = connection.table(identifier(table)).count("*").fetchall()[0][0]
            if count != expected:
                raise BrokenFileError(f"{path.name}: table {table} holds {count} rows instead of {expected}")
    finally:
        connection.close()


def move_in_place(built: Path, target: Path) -> None:
    """Replace `target` by `built`, on the same file system, durably; readers see either the old or the new file."""
    with built.open("rb+") as file:
        os.fsync(file.fileno())
    # A write-ahead log next to the target belongs to the old file, and would make the new one unreadable.
    target.with_name(target.name + ".wal").unlink(missing_ok=True)
    built.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
