"""Choose the reader of a source file's format."""

from __future__ import annotations

from collections.abc import Iterator

from shift_assets.ingest.readers.csv_lines import read_csv_lines
from shift_assets.ingest.readers.json_lines import read_json_lines
from shift_assets.ingest.readers.opened_file import OpenedFile
from shift_assets.ingest.readers.parquet_rows import read_parquet_rows
from shift_assets.ingest.readers.row_batch import RowBatch
from shift_assets.ingest.source.config import TableFile


def read_rows(opened: OpenedFile, table_file: TableFile, requested: tuple[str, ...]) -> Iterator[RowBatch]:
    """Yield the rows of a verified file.

    Args:
        opened: The file.
        table_file: Its format.
        requested: The raw columns to read.

    Raises:
        UnreadableFileError: The file is not of that format or lacks a column; always before the first row.
    """
    if table_file.format == "parquet":
        yield from read_parquet_rows(opened, requested)
    elif table_file.format == "csv":
        yield from read_csv_lines(opened.chunks(), table_file.dialect, requested)
    else:
        yield from read_json_lines(opened.chunks(), requested)
