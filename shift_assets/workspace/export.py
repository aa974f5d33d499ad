"""Tables of a period, handed out as one DuckDB file or as a folder of Parquet or CSV files."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.table import Table
from shift_assets.errors import UserError
from shift_assets.storage.duckdb_file import ALIAS, building, comment, identifier, literal, move_in_place, verify
from shift_assets.storage.lake import Lake

Format = Literal["duckdb", "parquet", "csv"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    target: Path
    rows: dict[str, int]
    """Rows by table."""


def export(
    lake: Lake,
    first_day: date,
    last_day: date,
    target: Path,
    tables: Sequence[str],
    *,
    form: Format = "duckdb",
    segments: Iterable[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes the rows of `tables` with first_day <= day <= last_day to `target`.

    `duckdb`: `target` is one file, its tables commented. `parquet`, `csv`: `target` is a folder with one file per
    table; in CSV nested columns are JSON, bytes base64, times UTC. It is built aside and moved in place whole. Raises
    UserError for an unknown table, where `target` exists and `overwrite` is false, and where the folder that is to
    hold it does not exist.
    """
    unknown = [name for name in tables if name not in TABLES]
    if unknown:
        raise UserError(f"unknown tables {', '.join(unknown)}; known: {', '.join(TABLES)}")
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already; choose another target, or allow to overwrite it")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; make it first")
    wanted_segments = None if segments is None else set(segments)
    build_folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    build_folder.mkdir(mode=0o700)
    connection = duckdb.connect()
    try:
        for name in tables:
            files = lake.files(TABLES[name], first_day=first_day, last_day=last_day, segments=wanted_segments)
            _register_view(connection, TABLES[name], [str(path) for path in files.values()])
        rows = {name: connection.view(name).count("*").fetchall()[0][0] for name in tables}
        built = (
            _as_database(connection, rows, build_folder)
            if form == "duckdb"
            else _as_files(connection, rows, build_folder, form)
        )
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif built.is_dir():
            target.unlink(missing_ok=True)
        if built.is_dir():
            built.chmod(0o755)
            built.rename(target)
        else:
            move_in_place(built, target)
    finally:
        connection.close()
        shutil.rmtree(build_folder, ignore_errors=True)
    return Exported(target, rows)


def _register_view(connection: duckdb.DuckDBPyConnection, table: Table, paths: list[str]) -> None:
    """A view of the table's name over the files, empty where there are none."""
    if not paths:
        connection.register(table.name, table.empty())
        return
    columns = ", ".join(identifier(name) for name in table.schema.names)
    path_list = "[" + ", ".join(literal(path) for path in paths) + "]"
    files = f"read_parquet({path_list}, hive_partitioning = true, hive_types = {{'day': date, 'segment': varchar}})"
    rows = f"select {columns} from {files}"  # noqa: S608 - declared names and the lake's own paths, quoted
    connection.execute(f"create view {identifier(table.name)} as {rows}")


def _as_database(connection: duckdb.DuckDBPyConnection, rows: dict[str, int], build_folder: Path) -> Path:
    built = build_folder / "export.duckdb"
    with building(connection, built):
        for name in rows:
            connection.execute(f"create table {ALIAS}.main.{identifier(name)} as from {identifier(name)}")
            comment(connection, TABLES[name])
    verify(built, rows)
    return built


def _as_files(connection: duckdb.DuckDBPyConnection, rows: dict[str, int], build_folder: Path, form: Format) -> Path:
    folder = build_folder / "export"
    folder.mkdir()
    options = "format csv, header true" if form == "csv" else "format parquet, compression zstd"
    for name in rows:
        wanted = ", ".join(
            _as_text(field) if form == "csv" else identifier(field.name) for field in TABLES[name].schema
        )
        query = f"select {wanted} from {identifier(name)}"  # noqa: S608 - declared names only
        connection.execute(f"copy ({query}) to {literal(str(folder / f'{name}.{form}'))} ({options})")
    return folder


def _as_text(field: pa.Field) -> str:
    name = identifier(field.name)
    if pa.types.is_nested(field.type):
        return f"to_json({name}) as {name}"
    if pa.types.is_binary(field.type):
        return f"base64({name}) as {name}"
    if pa.types.is_timestamp(field.type):
        # By way of the epoch: a plain cast would write the zone of the machine.
        return f"strftime(make_timestamp(epoch_us({name})), '%Y-%m-%dT%H:%M:%S.%fZ') as {name}"
    return name
