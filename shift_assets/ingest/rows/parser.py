"""The strict parser: one delivered file in, PARSED batches out, the same on every engine.

Every delivered row gives exactly one PARSED row. A file that cannot be read to its end gives one row for the whole.
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
from shift_assets.ingest.readers.source_files import (
    SourceFile,
)
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.validator import RowValidator, unreadable_file_row


@dataclass(slots=True)
class FileTally:
    """What one file delivered, counted by its reader, for the accounting delivered = clean + rejected.

    `rows` counts rows as read, before the row logic; an unreadable file delivers one.
    """

    path: str = ""
    sha256: str = ""
    rows: int = 0


def parse_file(
    context: ParseContext, source_file: SourceFile, tally: FileTally | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of one delivered file as PARSED batches of some MiB, in order; `tally` is filled on the way.

    Raises FileChangedError when the file changes meanwhile: reading it again later helps.
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
        if tally.rows:  # rows of it are published already: the run must fail
            raise
        head, sha256 = describe_unreadable(context.landing, source_file.path)
        tally.sha256, tally.rows = sha256, 1
        yield unreadable_file_row(context, source_file, str(error), head, sha256)
