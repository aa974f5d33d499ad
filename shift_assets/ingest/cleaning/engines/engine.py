"""The interface of the two cleaning engines.

An engine parses source files and runs the set logic of `sql/clean/`. Both engines give the same tables, row for row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from shift_assets.errors import UserError
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parser import FileTally

EngineName = Literal["spark", "embedded"]


class EngineError(UserError):
    """The configured engine cannot run here; the message says what is missing and what to do."""


class Engine(Protocol):
    """Runs parsing and SQL. Relations are referred to by name in all later SQL texts."""

    def parse(self, context: ParseContext, files: Sequence[SourceFile], folder: Path) -> list[FileTally]:
        """Parse each file once into Parquet files of PARSED in the new folder `folder`; return the readers' counts."""

    def register(self, name: str, paths: Sequence[Path]) -> None:
        """Name the rows of Parquet files, or of folders of them."""

    def define_view(self, name: str, sql: str) -> None:
        """Name the result of `sql`, a query in DuckDB's dialect, which is computed when it is read."""

    def materialize(self, name: str, sql: str) -> None:
        """Compute the result of `sql` now and name it."""

    def rows(self, sql: str) -> pa.Table:
        """Return the result of `sql`, in its order."""
