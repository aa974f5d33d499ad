"""Publishing what BI reads: `bi_public.duckdb` (aggregates, small cells suppressed) and `bi_activation.duckdb`
(per-pseudonym tables, mode 0640), each replaced whole by one rename.

Readers open a file read-only and keep the generation that they opened; they see the next one when they open it
again. A process that holds a file open gets the old generation for a second connection too, so a BI tool closes
its connections between refreshes or opens a numbered generation. A publication that would change nothing is none.
"""

from __future__ import annotations

import re
import shutil
import uuid
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

import shift_assets
from shift_assets import contracts
from shift_assets.marts import BASE_COLUMNS, GENERATION, MARTS, PUBLIC
from shift_assets.resources.duckfile import ALIAS, building, comment, identifier, move_in_place, verify
from shift_assets.resources.warehouse import Warehouse
from shift_assets.tables import Table


@dataclass(frozen=True)
class BiFile:
    """One published file: its name without ending, its access bits, and its tables by schema of the warehouse."""

    name: str
    mode: int
    tables: tuple[tuple[str, Table], ...] = field(repr=False)


PUBLIC_FILE = BiFile("bi_public", 0o644, tuple(("public", table) for table in PUBLIC.values()))
ACTIVATION_FILE = BiFile(
    "bi_activation",
    0o640,
    (
        *(("marts", table) for table in MARTS.values()),
        ("base", contracts.USER_FEATURES),
        ("base", contracts.SHIFT_SIGNALS),
        ("base", contracts.SEGMENT_SHIFTS),
        ("base", contracts.SEGMENT_EVENTS),
        ("base", contracts.ALARM_CLUSTERS),
        ("base", contracts.INTEREST_MOVES),
        ("base", contracts.CAMPAIGN_AUDIENCES),
        ("base", contracts.AD_SLOTS),
        ("base", contracts.RECOMMENDATION_OUTCOMES),
        ("base", contracts.EXPERIMENT_REPORT),
    ),
)
BI_FILES = (PUBLIC_FILE, ACTIVATION_FILE)


@dataclass(frozen=True, slots=True)
class Publication:
    """What stands as one BI file."""

    path: Path
    generation: int
    as_of_day: date | None
    rows: dict[str, int]
    digests: dict[str, str]
    changed: bool
    """False: the file already held exactly this."""


def publish(warehouse: Warehouse, folder: Path, keep_generations: int) -> dict[str, Publication]:
    """Publishes both files from the marts of `warehouse` into `folder`, the warehouse's own; by file name.

    `keep_generations` replaced files stay as `<name>.g<number>.duckdb`. Raises BrokenFileError when a built file fails
    its verification; what was published before stands then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with warehouse.connection() as connection:
        _clean_up(folder)
        return {file.name: _publish_file(connection, file, folder, keep_generations) for file in BI_FILES}


def current(folder: Path, file: BiFile) -> Publication | None:
    """What is published as `file`; None where nothing readable is."""
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
    """Replaced generations of `file` that are still there, oldest first."""
    pattern = re.compile(rf"{file.name}\.g(\d+)\.duckdb")
    found = {int(match[1]): path for path in folder.glob("*.duckdb") if (match := pattern.fullmatch(path.name))}
    return dict(sorted(found.items()))


def roll_back(warehouse: Warehouse, folder: Path, file: BiFile, generation: int) -> Path:
    """Makes a kept `generation` of `file` the published one again; the one it replaces is kept.

    Raises LookupError naming the generations that are there.
    """
    with warehouse.connection():
        kept = generations(folder, file)
        if generation not in kept:
            raise LookupError(
                f"{file.name} has no generation {generation}; kept: {', '.join(map(str, kept)) or 'none'}"
            )
        standing = current(folder, file)
        if standing and standing.generation == generation:
            return standing.path
        built = _workplace(folder) / _path(folder, file).name
        shutil.copy2(kept[generation], built)
        _keep(folder, file, standing)
        move_in_place(built, _path(folder, file))
        _clean_up(folder)
    return _path(folder, file)


def drop_generations(warehouse: Warehouse, folder: Path) -> None:
    """Deletes every replaced generation, for rows that must not be kept any longer."""
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
    standing = current(folder, file)
    if standing and (standing.as_of_day, standing.digests) == (as_of_day, digests):
        return standing
    number = max([0, *generations(folder, file), *([standing.generation] if standing else [])]) + 1
    publication = Publication(_path(folder, file), number, as_of_day, rows, digests, changed=True)
    built = _workplace(folder) / publication.path.name
    with building(connection, built):
        for schema, table in file.tables:
            _copy(connection, schema, table)
        _describe(connection, publication)
    built.chmod(file.mode)
    verify(built, {**rows, GENERATION.name: len(rows)})
    _keep(folder, file, standing)
    move_in_place(built, publication.path)
    for stale in sorted(generations(folder, file))[:-keep_generations]:
        generations(folder, file)[stale].unlink()
    _clean_up(folder)
    return publication


def _content(connection: duckdb.DuckDBPyConnection, schema: str, table: Table) -> tuple[int, str]:
    """Rows and order-independent digest of a table, column names included."""
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


def _keep(folder: Path, file: BiFile, standing: Publication | None) -> None:
    """Gives the published file its generation's name beside the one it is about to lose."""
    if standing:
        numbered = folder / f"{file.name}.g{standing.generation:06d}.duckdb"
        if not numbered.exists():
            numbered.hardlink_to(standing.path)


def _workplace(folder: Path) -> Path:
    """A new folder, ours alone, on the file system of `folder`."""
    made = folder / f".building-{uuid.uuid4().hex}"
    made.mkdir(mode=0o700)
    return made


def _clean_up(folder: Path) -> None:
    """Removes what a publication left half-made; only under the writer's lock."""
    for left_over in folder.glob(".building-*"):
        shutil.rmtree(left_over, ignore_errors=True)


def _path(folder: Path, file: BiFile) -> Path:
    return folder / f"{file.name}.duckdb"
