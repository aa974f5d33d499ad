"""DuckDB files that are handed to others: built aside under a private name, commented, verified, then moved in place.

What does not belong here: which tables a file holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from shift_assets.contracts.comments import column_comment
from shift_assets.contracts.table import Table

STORAGE_VERSION = "v1.0.0"
"""Oldest storage format that DuckDB writes: BI tools bundle older clients than ours."""


ALIAS = "built"
"""Name under which the file in the making is attached."""


class BrokenFileError(RuntimeError):
    """A file that was just built does not hold what was put in; nothing was moved in place."""


def literal(text: str) -> str:
    """`text` as an SQL string, for the few statements that bind no parameters (ATTACH, COMMENT, COPY TO)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name`, a name of a declared table or column, quoted."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def building(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Attaches a new file at `path` as `built`; checkpoints and detaches it in the end.

    Raises BrokenFileError when a write-ahead log is left over.
    """
    connection.execute(f"attach {literal(str(path))} as {ALIAS} (storage_version {literal(STORAGE_VERSION)})")
    try:
        yield
        connection.execute(f"checkpoint {ALIAS}")
    finally:
        connection.execute(f"detach {ALIAS}")
    if path.with_name(path.name + ".wal").exists():
        raise BrokenFileError(f"{path.name}: a write-ahead log is left over")


def comment(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Writes grain, key and the meaning of every column into the `built` file's copy of `table`."""
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
    """Reads `path` as a BI tool would; raises BrokenFileError unless every table has its rows."""
    connection = duckdb.connect(str(path), read_only=True)
    try:
        for table, expected in rows.items():
            found = connection.table(identifier(table)).count("*").fetchall()[0][0]
            if found != expected:
                raise BrokenFileError(f"{path.name}: table {table} holds {found} rows instead of {expected}")
    finally:
        connection.close()


def move_in_place(built: Path, target: Path) -> None:
    """Replaces `target` by `built`, both on one file system, durably; readers see the old file or the new one."""
    with built.open("rb+") as file:
        os.fsync(file.fileno())
    # A log beside the target belongs to the old file, and would make the new one unopenable.
    target.with_name(target.name + ".wal").unlink(missing_ok=True)
    built.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
