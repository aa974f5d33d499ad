"""Parquet files, row by row in batches; a row's delivered bytes are told as compact JSON."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shift_assets.ingest.expressions import new_connection
from shift_assets.ingest.files import OpenedFile, UnreadableFileError, handle_of
from shift_assets.ingest.rows import Fault, Rows

BATCH_ROWS = 32 * 1024


def read_parquet_rows(opened: OpenedFile, wanted: tuple[str, ...]) -> Iterator[Rows]:
    """The rows of a Parquet file, the `wanted` columns typed as in the file.

    Every page is read once before the first row is given: raises UnreadableFileError where one is damaged, and
    where a column is missing.
    """
    if opened.compression is not None:
        raise UnreadableFileError(f"a Parquet file inside {opened.compression}; deliver it as it is, it is compressed")
    file = _verified(opened, wanted)
    connection = new_connection()
    try:
        first = 1
        for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
            batch, broken = _valid_text(batch)
            connection.register("delivered_rows", pa.table(batch))
            raw = connection.execute("select to_json(delivered_rows) from delivered_rows").to_arrow_table().column(0)
            connection.unregister("delivered_rows")
            yield Rows(
                np.arange(first, first + batch.num_rows, dtype=np.int64),
                pa.chunked_array(raw).combine_chunks().cast(pa.string()).cast(pa.binary()),
                {name: batch.column(name) for name in wanted},
                faults={row: Fault("malformed", f"column {name}: not UTF-8") for row, name in broken.items()},
            )
            first += batch.num_rows
    finally:
        connection.close()


def _verified(opened: OpenedFile, wanted: tuple[str, ...]) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(pa.PythonFile(handle_of(opened.descriptor), mode="r"), page_checksum_verification=True)
        names = file.schema_arrow.names
        missing = [name for name in wanted if name not in names]
        if missing:
            raise UnreadableFileError(f"lacks the columns {', '.join(missing)}; it has {', '.join(names)[:500]}")
        if len(set(names)) != len(names):
            raise UnreadableFileError("names a column twice")
        for _ in file.iter_batches(BATCH_ROWS, use_threads=False):
            pass
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(f"damaged Parquet: {str(error).splitlines()[0][:300]}") from error
    return file


def _valid_text(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The batch with text that is UTF-8 throughout, and the rows (with a column) where it was not.

    Binary columns are read as text: writers without a text type leave strings so.
    """
    broken: dict[int, str] = {}
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_binary(column.type) or pa.types.is_string(column.type):
            try:
                text = column.cast(pa.binary()).cast(pa.string())
            except pa.ArrowInvalid:
                values = column.cast(pa.binary()).to_pylist()
                broken |= {row: name for row, value in enumerate(values) if not _is_utf8(value)}
                text = pa.array([v if v is None else v.decode("utf-8", "backslashreplace") for v in values])
            column = text
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names), broken


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
