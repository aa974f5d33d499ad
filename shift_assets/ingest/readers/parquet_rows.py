"""Read Parquet files in batches; compact JSON takes the place of a row's raw bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shift_assets.ingest.readers.opened_file import OpenedFile, UnreadableFileError, open_handle
from shift_assets.ingest.readers.row_batch import Rejection, RowBatch
from shift_assets.ingest.source.expressions import new_connection

BATCH_ROWS = 32 * 1024


def read_parquet_rows(opened: OpenedFile, requested: tuple[str, ...]) -> Iterator[RowBatch]:
    """Yield the rows of a Parquet file, the `requested` columns typed as in the file; raises as `parquet_batches`."""
    connection = new_connection()
    try:
        for first, batch in parquet_batches(opened, requested):
            rows, readable = row_batch_of(batch, first, requested)
            connection.register("raw_rows", pa.table(readable))
            json_rows = connection.execute("select to_json(raw_rows) from raw_rows").to_arrow_table()
            connection.unregister("raw_rows")
            rows.raw = json_rows.column(0).combine_chunks().cast(pa.string()).cast(pa.binary())
            yield rows
    finally:
        connection.close()


def parquet_batches(opened: OpenedFile, requested: tuple[str, ...]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield all columns of a Parquet file, batch by batch, each with the number, from 1, of its first row.

    Every page is read once before the first batch is yielded.

    Raises:
        UnreadableFileError: A page is damaged, or a `requested` column is missing.
    """
    if opened.compression is not None:
        raise UnreadableFileError(
            f"a Parquet file inside {opened.compression}; deliver the Parquet file itself, which is already compressed"
        )
    first = 1
    for batch in _open_verified(opened, requested).iter_batches(BATCH_ROWS, use_threads=False):
        if batch.num_rows:
            yield first, batch
        first += batch.num_rows
    opened.check_unchanged()


def row_batch_of(batch: pa.RecordBatch, first: int, requested: tuple[str, ...]) -> tuple[RowBatch, pa.RecordBatch]:
    """Return the rows of a batch, without raw bytes, and the batch with valid UTF-8 text."""
    readable, invalid_utf8 = _valid_text(batch)
    rejections = {row: Rejection("malformed", f"column {name!r} is not UTF-8") for row, name in invalid_utf8.items()}
    numbers = np.arange(first, first + batch.num_rows, dtype=np.int64)
    empty = pa.array([b""] * batch.num_rows, pa.binary())
    columns = {name: readable.column(name) for name in requested}
    return RowBatch(numbers, empty, columns, rejections=rejections), readable


def _open_verified(opened: OpenedFile, requested: tuple[str, ...]) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(
            pa.PythonFile(open_handle(opened.descriptor), mode="r"), page_checksum_verification=True, pre_buffer=False
        )
        names = file.schema_arrow.names
        missing = [name for name in requested if name not in names]
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
    """Return the batch with valid UTF-8 text, and the rows (each with one of the columns) where it was invalid.

    Binary columns are read as text: writers without a text type store strings in them.
    """
    invalid_utf8: dict[int, str] = {}
    columns = []
    for name, column_as_read in zip(batch.schema.names, batch.columns, strict=True):
        column = column_as_read.dictionary_decode() if pa.types.is_dictionary(column_as_read.type) else column_as_read
        if _is_text(column.type):
            try:
                column = column.cast(pa.binary()).cast(pa.string())
            except pa.ArrowInvalid:
                values = column.cast(pa.binary()).to_pylist()
                invalid_utf8 |= {row: name for row, value in enumerate(values) if not _is_utf8(value)}
                texts = [None if value is None else value.decode("utf-8", "backslashreplace") for value in values]
                column = pa.array(texts, pa.string())
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names), invalid_utf8


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
