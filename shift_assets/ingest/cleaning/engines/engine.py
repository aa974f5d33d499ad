"""The two engines of cleaning, and which one runs.

An engine parses delivered files with the one strict parser and runs the set logic of `sql/clean/`; nothing else
about it is seen by its caller. Both give the same tables, row for row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parser import FileTally

EngineName = Literal["spark", "embedded"]


class EngineError(RuntimeError):
    """The engine asked for cannot run here; the message says what is missing and what to do."""


class Engine(Protocol):
    """One place where cleaning runs. Relations are called by name in every SQL text after the one that made them."""

    def parse(self, context: ParseContext, files: Sequence[SourceFile], folder: Path) -> list[FileTally]:
        """Parse `files`, each once, into Parquet files of PARSED in `folder`, which does not exist yet.

        Returns what the reader of each file counted.
        """

    def register(self, name: str, paths: Sequence[Path]) -> None:
        """Call the rows of Parquet files, or of folders of them, `name`."""

    def define_view(self, name: str, sql: str) -> None:
        """Call the answer to `sql`, a query in DuckDB's dialect, `name`; it is computed where it is read."""

    def materialize(self, name: str, sql: str) -> None:
        """Compute the answer to `sql` now and call it `name`."""

    def rows(self, sql: str) -> pa.Table:
        """The answer to `sql`, in its order."""
