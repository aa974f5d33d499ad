"""Read the items and users tables from the landing folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.ingest.readers.formats import read_rows
from shift_assets.ingest.readers.opened_file import UnreadableFileError, open_source_file
from shift_assets.ingest.readers.row_batch import RowBatch
from shift_assets.ingest.readers.source_files import list_table_files
from shift_assets.ingest.rows.ids import validate_ids
from shift_assets.ingest.rows.pseudonyms import Pseudonyms
from shift_assets.ingest.rows.values import as_text, blank_to_null, to_double
from shift_assets.ingest.source.config import Items, Source, TableFile, Users

ITEMS = pa.schema([("item_id", pa.string()), ("category", pa.string()), ("price", pa.float64()), ("text", pa.string())])

_logger = logging.getLogger(__name__)


def read_items(landing: Path, source: Source) -> pa.Table | None:
    """Read `landing/items/`.

    Returns:
        item_id, category, price, text: one row per item, the last one of the last file (by name); None if the source
        has no items table. Rows without an id and unreadable files are skipped and logged; a price that is no finite
        number is null.
    """
    table_file = source.items
    if table_file is None:
        return None
    parts = [ITEMS.empty_table()]
    for rows in _table_rows(landing, "items", table_file, tuple(dict.fromkeys(table_file.map.values()))):
        ids, has_id = _ids(rows, table_file.map["item_id"])
        columns: dict[str, pa.Array] = {"item_id": ids}
        for name in ("category", "price", "text"):
            if name not in table_file.map:
                columns[name] = pa.nulls(len(rows), ITEMS.field(name).type)
            elif name == "price":
                columns[name] = to_double(rows.columns[table_file.map[name]])[0]
            else:
                columns[name] = blank_to_null(as_text(rows.columns[table_file.map[name]])[0])
        parts.append(pa.table(columns, schema=ITEMS).filter(has_id))
    return _last_row_per_key(pa.concat_tables(parts), "item_id")


def read_users(landing: Path, source: Source, key: bytes) -> pa.Table | None:
    """Read `landing/users/`.

    Returns:
        user_id (pseudonym) and the mapped attributes as text: one row per user, the last one of the last file (by
        name); None if the source has no users table.
    """
    table_file = source.users
    if table_file is None:
        return None
    attributes = [name for name in table_file.map if name != "user_id"]
    schema = pa.schema([(name, pa.string()) for name in ("user_id", *attributes)])
    parts = [schema.empty_table()]
    pseudonyms = Pseudonyms(key)
    for rows in _table_rows(landing, "users", table_file, tuple(dict.fromkeys(table_file.map.values()))):
        ids, has_id = _ids(rows, table_file.map["user_id"])
        columns = {name: blank_to_null(as_text(rows.columns[table_file.map[name]])[0]) for name in attributes}
        parts.append(pa.table({"user_id": pseudonyms.lookup(ids)} | columns, schema=schema).filter(has_id))
    return _last_row_per_key(pa.concat_tables(parts), "user_id")


def count_rows(file: Path, table_file: Items | Users) -> tuple[int, int]:
    """Count the rows of an items or users table before it is landed, and those that have an id.

    Raises:
        UnreadableFileError: The file is damaged, not in the source's format, lacks a mapped column, or no row has an
            id.
    """
    file = file.resolve()
    rows = with_id = 0
    key = table_file.map["item_id"] if isinstance(table_file, Items) else table_file.map["user_id"]
    with open_source_file(file.parent, file.name) as opened:
        for part in read_rows(opened, table_file, tuple(dict.fromkeys(table_file.map.values()))):
            rows += len(part)
            with_id += len(part) - _valid_ids(part, key).null_count
    if rows and not with_id:
        raise UnreadableFileError(
            f"none of its {rows:,} rows has an id in {key!r}; is it of format {table_file.format}?"
        )
    return rows, with_id


def _table_rows(landing: Path, table: str, table_file: TableFile, requested: tuple[str, ...]) -> Iterator[RowBatch]:
    for file in list_table_files(landing, table):
        try:
            with open_source_file(landing, file.path) as opened:
                yield from read_rows(opened, table_file, requested)
        except UnreadableFileError as error:
            _logger.warning("skipped %s: %s", file.path, error)


def _ids(rows: RowBatch, column: str) -> tuple[pa.Array, pa.Array]:
    """Return ids and which rows have one; log how many have none."""
    ids = _valid_ids(rows, column)
    if ids.null_count:
        _logger.warning("skipped %d rows without a valid %s", ids.null_count, column)
    return ids, pc.is_valid(ids)


def _valid_ids(rows: RowBatch, column: str) -> pa.Array:
    texts, kinds = rows.columns[column], rows.kinds.get(column)
    if kinds is None:
        texts, kinds = as_text(texts)
    return validate_ids(texts, kinds)[0]


def _last_row_per_key(rows: pa.Table, key: str) -> pa.Table:
    last = {name: row for row, name in enumerate(rows[key].to_pylist())}
    return rows.take(pa.array(np.sort(np.fromiter(last.values(), dtype=np.int64, count=len(last)))))
