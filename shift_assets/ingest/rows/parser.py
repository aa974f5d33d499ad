"""Parse one source file into PARSED batches, the same on every engine.

Every raw row gives exactly one PARSED row. A file that cannot be read to its end gives one row for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from shift_assets.ingest.readers.formats import read_rows
from shift_assets.ingest.readers.opened_file import (
    UnreadableFileError,
    describe_unreadable,
    open_source_file,
)
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.validator import RowValidator, unreadable_file_row


@dataclass(slots=True)
class FileTally:
    """Counts of one file by its reader, for the row accounting.

    `rows` counts rows as read, before the row rules; an unreadable file counts as one row.
    """

    path: str = ""
    sha256: str = ""
    rows: int = 0


def parse_file(
    context: ParseContext, source_file: SourceFile, tally: FileTally | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one source file as PARSED batches of some MiB, in order.

    Args:
        context: The source and everything else that the rows depend on.
        source_file: The file.
        tally: Filled while the file is read.

    Raises:
        FileChangedError: The file changed while it was read; it can be read again later.
    """
    tally = tally if tally is not None else FileTally()
    tally.path = source_file.path
    try:
        with open_source_file(context.landing, source_file.path) as opened:
            tally.sha256 = opened.sha256
            validator = RowValidator(context, source_file, opened.sha256)
            try:
                for rows in read_rows(opened, context.source.events, context.source.columns_to_read):
                    batch = validator.validate(rows)
                    tally.rows += len(rows)
                    yield batch
            finally:
                validator.close()
    except UnreadableFileError as error:
        if tally.rows:  # rows of it have been handed over: the run must fail
            raise
        head, sha256 = describe_unreadable(context.landing, source_file.path)
        tally.sha256, tally.rows = sha256, 1
        yield unreadable_file_row(context, source_file, str(error), head, sha256)
