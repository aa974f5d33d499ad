"""The strict parser: one delivered file in, PARSED batches out, the same on every engine.

Every delivered row gives exactly one PARSED row. A file that cannot be read to its end gives one row for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from shift_assets.ingest.context import ParseContext
from shift_assets.ingest.csvlines import read_csv_lines
from shift_assets.ingest.files import (
    Delivered,
    Ignored,
    Listing,
    OpenedFile,
    UnreadableFileError,
    delivered_files,
    describe_unreadable,
    list_landing,
    open_delivered,
)
from shift_assets.ingest.jsonlines import read_json_lines
from shift_assets.ingest.judge import Judge, unreadable_row
from shift_assets.ingest.parquetrows import read_parquet_rows
from shift_assets.ingest.rows import Rows
from shift_assets.ingest.source import TableFile

__all__ = [
    "Delivered",
    "FileTally",
    "Ignored",
    "Listing",
    "ParseContext",
    "delivered_files",
    "list_landing",
    "parse_file",
    "read_rows",
]


@dataclass(slots=True)
class FileTally:
    """What one file delivered, counted by its reader, for the accounting delivered = clean + rejected.

    `rows` counts rows as read, before the row logic; an unreadable file delivers one.
    """

    path: str = ""
    sha256: str = ""
    rows: int = 0


def parse_file(context: ParseContext, delivered: Delivered, tally: FileTally | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of one delivered file as PARSED batches of some MiB, in order; `tally` is filled on the way.

    Raises FileChangedError when the file changes meanwhile: reading it again later helps.
    """
    tally = tally if tally is not None else FileTally()
    tally.path = delivered.path
    try:
        with open_delivered(context.landing, delivered.path) as opened:
            tally.sha256 = opened.sha256
            judge = Judge(context, delivered, opened.sha256)
            try:
                for rows in read_rows(opened, context.source.events, context.source.wanted_columns):
                    batch = judge.parsed(rows)
                    tally.rows += len(rows)
                    yield batch
            finally:
                judge.close()
    except UnreadableFileError as error:
        if tally.rows:  # rows of it are published already: the run must fail
            raise
        head, sha256 = describe_unreadable(context.landing, delivered.path)
        tally.sha256, tally.rows = sha256, 1
        yield unreadable_row(context, delivered, str(error), head, sha256)


def read_rows(opened: OpenedFile, form: TableFile, wanted: tuple[str, ...]) -> Iterator[Rows]:
    """The rows of a verified file in its format.

    Raises UnreadableFileError, always before the first row, where the file is not of that format or lacks a column.
    """
    if form.format == "parquet":
        yield from read_parquet_rows(opened, wanted)
    elif form.format == "csv":
        yield from read_csv_lines(opened.chunks(), form.dialect, wanted)
    else:
        yield from read_json_lines(opened.chunks(), wanted)
