"""The delivered items and users tables, as lookups of the strict parser; and the context that holds them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.ingest.context import ParseContext
from shift_assets.ingest.files import UnreadableFileError, open_delivered, table_files
from shift_assets.ingest.identifiers import Pseudonyms, checked_ids
from shift_assets.ingest.parse import read_rows
from shift_assets.ingest.rows import Rows
from shift_assets.ingest.source import Items, Source, TableFile, Users
from shift_assets.ingest.values import as_text, blank_to_null, to_double
from shift_assets.privacy.erase import erased_pseudonyms
from shift_assets.privacy.pseudonym import load_key

ITEMS = pa.schema([("item_id", pa.string()), ("category", pa.string()), ("price", pa.float64()), ("text", pa.string())])

_logger = logging.getLogger(__name__)


def make_context(source: Source, landing: Path, privacy_folder: Path, lateness_days: int) -> ParseContext:
    """Everything the parser must know: the key is loaded (or made), erased users are listed, items and
    users are read from the landing."""
    key = load_key(privacy_folder)
    users = read_users(landing, source, key)
    segments = None
    if source.segments.table == "users" and users is not None:
        of_value, other = source.segments.segment_of, source.segment_keys[-1]
        values = users[source.segments.column or ""].to_pylist()
        chosen = [of_value.get(value, other) for value in values]
        segments = pa.table({"user_id": users["user_id"], "segment": pa.array(chosen, pa.string())})
    return ParseContext(
        source=source,
        key=key,
        lateness_days=lateness_days,
        landing=landing,
        items=read_items(landing, source),
        user_segments=segments,
        erased=erased_pseudonyms(privacy_folder),
    )


def read_items(landing: Path, source: Source) -> pa.Table | None:
    """`landing/items/` as item_id, category, price, text; None where the source has no items table.

    Of an item delivered more than once the last row of the last file (by name) counts. Rows without id are left
    out and logged, as are files that cannot be read; a price that is no finite number is null.
    """
    form = source.items
    if form is None:
        return None
    parts = [ITEMS.empty_table()]
    for rows in _table_rows(landing, "items", form, tuple(dict.fromkeys(form.map.values()))):
        ids, kept = _ids(rows, form.map["item_id"])
        columns: dict[str, pa.Array] = {"item_id": ids}
        for name in ("category", "price", "text"):
            if name not in form.map:
                columns[name] = pa.nulls(len(rows), ITEMS.field(name).type)
            elif name == "price":
                columns[name] = to_double(rows.columns[form.map[name]])[0]
            else:
                columns[name] = blank_to_null(as_text(rows.columns[form.map[name]])[0])
        parts.append(pa.table(columns, schema=ITEMS).filter(kept))
    return _last_of_each(pa.concat_tables(parts), "item_id")


def read_users(landing: Path, source: Source, key: bytes) -> pa.Table | None:
    """`landing/users/` as user_id (pseudonym) and the mapped attributes as text; None without a users table.

    Of a user delivered more than once the last row of the last file (by name) counts.
    """
    form = source.users
    if form is None:
        return None
    attributes = [name for name in form.map if name != "user_id"]
    schema = pa.schema([(name, pa.string()) for name in ("user_id", *attributes)])
    parts = [schema.empty_table()]
    pseudonyms = Pseudonyms(key)
    for rows in _table_rows(landing, "users", form, tuple(dict.fromkeys(form.map.values()))):
        ids, kept = _ids(rows, form.map["user_id"])
        columns = {name: blank_to_null(as_text(rows.columns[form.map[name]])[0]) for name in attributes}
        parts.append(pa.table({"user_id": pseudonyms.of(ids)} | columns, schema=schema).filter(kept))
    return _last_of_each(pa.concat_tables(parts), "user_id")


def count_rows(file: Path, form: Items | Users) -> tuple[int, int]:
    """Rows of a table before it is landed, and how many of them have an id.

    Raises UnreadableFileError where the file is damaged, not in the source's format, lacks a mapped column, or
    where no row has an id.
    """
    file = file.resolve()
    rows = named = 0
    key = form.map["item_id"] if isinstance(form, Items) else form.map["user_id"]
    with open_delivered(file.parent, file.name) as opened:
        for part in read_rows(opened, form, tuple(dict.fromkeys(form.map.values()))):
            rows += len(part)
            named += len(part) - _checked(part, key).null_count
    if rows and not named:
        raise UnreadableFileError(f"none of its {rows:,} rows has an id in {key!r}; is it of format {form.format}?")
    return rows, named


def _table_rows(landing: Path, table: str, form: TableFile, wanted: tuple[str, ...]) -> Iterator[Rows]:
    for file in table_files(landing, table):
        try:
            with open_delivered(landing, file.path) as opened:
                yield from read_rows(opened, form, wanted)
        except UnreadableFileError as error:
            _logger.warning("%s is left out: %s", file.path, error)


def _ids(rows: Rows, column: str) -> tuple[pa.Array, pa.Array]:
    """Ids and which rows have one."""
    ids = _checked(rows, column)
    if ids.null_count:
        _logger.warning("%d rows without a valid %s are left out", ids.null_count, column)
    return ids, pc.is_valid(ids)


def _checked(rows: Rows, column: str) -> pa.Array:
    texts, kinds = rows.columns[column], rows.kinds.get(column)
    if kinds is None:
        texts, kinds = as_text(texts)
    return checked_ids(texts, kinds)[0]


def _last_of_each(rows: pa.Table, key: str) -> pa.Table:
    last = {name: row for row, name in enumerate(rows[key].to_pylist())}
    return rows.take(pa.array(np.sort(np.fromiter(last.values(), dtype=np.int64, count=len(last)))))
