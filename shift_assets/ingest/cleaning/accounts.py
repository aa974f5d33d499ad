"""The account of each source file: rows delivered = clean + rejected + not requested."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

from shift_assets.ingest.readers.source_files import SourceFile


class AccountingError(RuntimeError):
    """Rows of a delivered file were lost or doubled; nothing of the run may be published."""


@dataclass(frozen=True)
class FileAccount:
    """What became of one delivered file: `rows` = `clean` + rows `rejected` + `not_requested`."""

    path: str
    folder_day: date
    sha256: str
    rows: int
    clean: int
    rejected: dict[str, int]  # rows by reason
    not_requested: int  # rows of partitions that were not asked for


@dataclass
class OpenAccount:
    """A delivered file while it is being cleaned."""

    file: SourceFile
    sha256: str
    rows: int
    clean: int = 0
    not_requested: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def close(self) -> FileAccount:
        """Raises AccountingError where the rows do not add up."""
        accounted = self.clean + self.rejected.total() + self.not_requested
        if accounted != self.rows:
            raise AccountingError(
                f"{self.file.path} ({self.sha256}): {self.rows} rows delivered, but {self.clean} clean + "
                f"{self.rejected.total()} rejected + {self.not_requested} of partitions not asked for make {accounted}"
            )
        return FileAccount(
            self.file.path,
            self.file.folder_day,
            self.sha256,
            self.rows,
            self.clean,
            dict(sorted(self.rejected.items())),
            self.not_requested,
        )
