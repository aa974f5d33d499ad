"""Publish the files that BI reads: `bi_public.duckdb` (aggregates, small cells suppressed) and `bi_activation.duckdb`
(per-pseudonym tables, mode 0640), each replaced as a whole by one rename.

Readers open a file read-only and keep the generation that they opened until they open it again. In a process that
holds a file open a second connection gets the old generation too, so a BI tool must close its connections between
refreshes or open a numbered generation. If nothing changed, nothing is published.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

import shift_assets
from shift_assets.contracts.bi_files import BI_FILES, BiFile
from shift_assets.contracts.marts import BASE_COLUMNS, GENERATION
from shift_assets.contracts.table import Table
from shift_assets.errors import UserError
from shift_assets.storage.duckdb_file import ALIAS, building, comment, identifier, move_in_place, verify
from shift_assets.storage.warehouse import Warehouse

_logger = logging.getLogger(__name__)


class UnknownGeneration(UserError, LookupError):
    """A generation that is not kept; the message names those that are."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The published state of one BI file."""

    path: Path
    generation: int
    as_of_day: date | None
    rows: dict[str, int]
    digests: dict[str, str]
    changed: bool
    """False: the file already held exactly this."""


def publish(warehouse: Warehouse, folder: Path, keep_generations: int) -> dict[str, Publication]:
    """Publish both files from the marts of the warehouse.

    Args:
        warehouse: The warehouse.
        folder: The folder of the warehouse, to which the files are published.
        keep_generations: Replaced files to keep as `<name>.g<number>.duckdb`.

    Returns:
        The published state by file name.

    Raises:
        BrokenFileError: A built file fails its verification; the published files are unchanged.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with warehouse.connection() as connection:
        _clean_up(folder)
        published = {file.name: _publish_file(connection, file, folder, keep_generations) for file in BI_FILES}
    for name, publication in published.items():
        state = "published" if publication.changed else "unchanged"
        _logger.info(
            "%s %s: generation %d, %d rows", name, state, publication.generation, sum(publication.rows.values())
        )
    _logger.info("published the BI files in %.1f s", time.monotonic() - started)
    return published


def current(folder: Path, file: BiFile) -> Publication | None:
    """Return the published state of `file`; None if there is no readable file."""
    path = _path(folder, file)
    if not path.exists():
        return None
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error:
        return None
    try:
        rows = connection.table(GENERATION.name).select(*GENERATION.schema.names).fetchall()
    except duckdb.Error:
        return None
    finally:
        connection.close()
    described = [dict(zip(GENERATION.schema.names, row, strict=True)) for row in rows]
    return Publication(
        path,
        described[0]["generation"],
        described[0]["as_of_day"],
        {row["table_name"]: row["rows"] for row in described},
        {row["table_name"]: row["digest"] for row in described},
        changed=False,
    )


def generations(folder: Path, file: BiFile) -> dict[int, Path]:
    """Return the kept generations of `file`, oldest first."""
    pattern = re.compile(rf"{file.name}\.g(\d+)\.duckdb")
    kept = {int(match[1]): path for path in folder.glob("*.duckdb") if (match := pattern.fullmatch(path.name))}
    return dict(sorted(kept.items()))


# For the command that restores an earlier generation of a BI file.
def roll_back(warehouse: Warehouse, folder: Path, file: BiFile, generation: int) -> Path:
    """Publish a kept generation of `file` again, and keep the one that it replaces.

    Args:
        warehouse: The warehouse, whose lock is held meanwhile.
        folder: The folder of the BI files.
        file: The file to roll back.
        generation: The generation to publish.

    Returns:
        The path of the published file.

    Raises:
        UnknownGeneration: The generation is not kept.
    """
    with warehouse.connection():
        stored = generations(folder, file)
        if generation not in stored:
            raise UnknownGeneration(
                f"{file.name} has no generation {generation}; kept: {', '.join(map(str, stored)) or 'none'}"
            )
        existing = current(folder, file)
        if existing and existing.generation == generation:
            return existing.path
        built = _new_build_folder(folder) / _path(folder, file).name
        shutil.copy2(stored[generation], built)
        _keep_generation(folder, file, existing)
        move_in_place(built, _path(folder, file))
        _clean_up(folder)
    return _path(folder, file)


def drop_generations(warehouse: Warehouse, folder: Path) -> None:
    """Delete every replaced generation, for rows that must no longer be stored."""
    with warehouse.connection():
        for file in BI_FILES:
            for path in generations(folder, file).values():
                path.unlink()


def _publish_file(
    connection: duckdb.DuckDBPyConnection, file: BiFile, folder: Path, keep_generations: int
) -> Publication:
    (as_of_day,) = connection.execute("select max(day) from base.loaded_partitions").fetchall()[0]
    contents = {table.name: _content(connection, schema, table) for schema, table in file.tables}
    rows = {name: count for name, (count, _) in contents.items()}
    digests = {name: digest for name, (_, digest) in contents.items()}
    existing = current(folder, file)
    if existing and (existing.as_of_day, existing.digests) == (as_of_day, digests):
        return existing
    number = max([0, *generations(folder, file), *([existing.generation] if existing else [])]) + 1
    publication = Publication(_path(folder, file), number, as_of_day, rows, digests, changed=True)
    built = _new_build_folder(folder) / publication.path.name
    with building(connection, built):
        for schema, table in file.tables:
            _copy(connection, schema, table)
        _describe(connection, publication)
    built.chmod(file.mode)
    verify(built, {**rows, GENERATION.name: len(rows)})
    _keep_generation(folder, file, existing)
    move_in_place(built, publication.path)
    for stale in sorted(generations(folder, file))[:-keep_generations]:
        generations(folder, file)[stale].unlink()
    _clean_up(folder)
    return publication


def _content(connection: duckdb.DuckDBPyConnection, schema: str, table: Table) -> tuple[int, str]:
    """Return the row count of a table and an order-independent digest, which includes the column names."""
    relation = connection.table(f"{schema}.{identifier(table.name)}").select(_columns(schema, table)).set_alias("t")
    hashed = relation.select("hash(t) as h").aggregate(
        "count(*), coalesce(sum(h), 0) % 18446744073709551616::hugeint, coalesce(bit_xor(h), 0), "
        f"hash('{_columns(schema, table)}')"
    )
    rows, total, xor, names = hashed.fetchall()[0]
    return rows, f"{int(total):016x}{int(xor):016x}{int(names):016x}"


def _copy(connection: duckdb.DuckDBPyConnection, schema: str, table: Table) -> None:
    target, source = f"{ALIAS}.main.{identifier(table.name)}", f"{schema}.{identifier(table.name)}"
    order = ", ".join(identifier(name) for name in dict.fromkeys(("day", "segment", *table.key)))
    rows = f"select {_columns(schema, table)} from {source} order by {order}"  # noqa: S608 - declared names only
    connection.execute(f"create table {target} as {rows}")
    comment(connection, table)


def _columns(schema: str, table: Table) -> str:
    names = BASE_COLUMNS[table.name] if schema == "base" else tuple(table.schema.names)
    return ", ".join(identifier(name) for name in names)


def _describe(connection: duckdb.DuckDBPyConnection, publication: Publication) -> None:
    described = pa.Table.from_pylist(
        [
            {
                "generation": publication.generation,
                "as_of_day": publication.as_of_day,
                "table_name": name,
                "rows": publication.rows[name],
                "digest": publication.digests[name],
                "code_version": shift_assets.__version__,
            }
            for name in sorted(publication.rows)
        ],
        schema=GENERATION.schema,
    )
    connection.register("described", described)
    connection.execute(f"create table {ALIAS}.main.{identifier(GENERATION.name)} as from described")
    connection.unregister("described")
    comment(connection, GENERATION)


def _keep_generation(folder: Path, file: BiFile, existing: Publication | None) -> None:
    """Link the published file to the name of its generation, before it is replaced."""
    if existing:
        numbered = folder / f"{file.name}.g{existing.generation:06d}.duckdb"
        if not numbered.exists():
            numbered.hardlink_to(existing.path)


def _new_build_folder(folder: Path) -> Path:
    """Create a private folder on the file system of `folder`."""
    created = folder / f".building-{uuid.uuid4().hex}"
    created.mkdir(mode=0o700)
    return created


def _clean_up(folder: Path) -> None:
    """Remove what interrupted publications left; call only under the writer's lock."""
    for left_over in folder.glob(".building-*"):
        shutil.rmtree(left_over, ignore_errors=True)


def _path(folder: Path, file: BiFile) -> Path:
    return folder / f"{file.name}.duckdb"
