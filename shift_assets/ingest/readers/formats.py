"""The reader of each source file format."""

from __future__ import annotations

from collections.abc import Iterator

from shift_assets.ingest.readers.csv_lines import read_csv_lines
from shift_assets.ingest.readers.json_lines import read_json_lines
from shift_assets.ingest.readers.opened_file import (
    OpenedFile,
)
from shift_assets.ingest.readers.parquet_rows import read_parquet_rows
from shift_assets.ingest.readers.row_batch import RowBatch
from shift_assets.ingest.source.config import TableFile


def read_rows(opened: OpenedFile, table_file: TableFile, wanted: tuple[str, ...]) -> Iterator[RowBatch]:
    """The rows of a verified file in its format.

    Raises UnreadableFileError, always before the first row, where the file is not of that format or lacks a column.
    """
    if table_file.format == "parquet":
        yield from read_parquet_rows(opened, wanted)
    elif table_file.format == "csv":
        yield from read_csv_lines(opened.chunks(), table_file.dialect, wanted)
    else:
        yield from read_json_lines(opened.chunks(), wanted)
