"""Row accounting per source file: rows read = clean + rejected + not requested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.cleaning import DELIVERIES
from shift_assets.contracts.partition import Partition
from shift_assets.errors import PermanentError
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parser import FileTally


class AccountingError(PermanentError):
    """Rows of a source file were lost or duplicated; nothing of the run may be published."""


@dataclass(frozen=True)
class FileAccount:
    """Final counts of one source file: `rows` = `clean` + the sum of `rejected` + `not_requested`."""

    path: str
    folder_day: date
    sha256: str
    rows: int
    clean: int
    rejected: dict[str, int]  # rows by reason
    not_requested: int  # rows of partitions that were not requested


@dataclass
class OpenAccount:
    """Running counts of a source file while it is being cleaned."""

    file: SourceFile
    sha256: str
    rows: int
    clean: int = 0
    not_requested: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def close(self) -> FileAccount:
        """Return the final counts.

        Raises:
            AccountingError: The counts do not add up to the rows that were read.
        """
        accounted = self.clean + self.rejected.total() + self.not_requested
        if accounted != self.rows:
            raise AccountingError(
                f"{self.file.path} ({self.sha256}): {self.rows} rows delivered, but {self.clean} clean + "
                f"{self.rejected.total()} rejected + {self.not_requested} of partitions not requested make "
                f"{accounted}; nothing of this run is published, please report it as a defect"
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


@dataclass
class FileAccounts:
    """The accounts of every file of one cleaning run, which delivers rows to the `requested` partitions."""

    requested: frozenset[Partition]
    _accounts: dict[str, OpenAccount] = field(default_factory=dict)
    _rows_by_file: dict[Partition, dict[str, int]] = field(default_factory=dict)

    def __contains__(self, file: SourceFile) -> bool:
        return file.path in self._accounts

    def __len__(self) -> int:
        return len(self._accounts)

    def open(self, files: Sequence[SourceFile], tallies: Sequence[FileTally], landed: pa.Table) -> None:
        """Open an account for each parsed file.

        Args:
            files: The files that were parsed.
            tallies: What the reader of each file counted.
            landed: source_file, day, segment, landed_rows: the parsed rows by partition.
        """
        by_path = {tally.path: tally for tally in tallies}
        for file in files:
            self._accounts[file.path] = OpenAccount(file, by_path[file.path].sha256, by_path[file.path].rows)
        for row in landed.to_pylist():
            partition = Partition(row["day"], row["segment"])
            if partition in self.requested:
                self._rows_by_file.setdefault(partition, {})[row["source_file"]] = row["landed_rows"]
            else:
                self._accounts[row["source_file"]].not_requested += row["landed_rows"]

    def add(self, clean: pa.Table, rejected: pa.Table) -> None:
        """Count clean and rejected rows, each with its `source_file`."""
        for file in pc.value_counts(clean["source_file"]).to_pylist():
            self._accounts[file["values"]].clean += file["counts"]
        for row in rejected.select(["source_file", "reason"]).to_pylist():
            self._accounts[row["source_file"]].rejected[row["reason"]] += 1

    def close(self, file: SourceFile) -> FileAccount:
        """Return the final counts of a file; raises AccountingError where they do not add up."""
        return self._accounts[file.path].close()

    def deliveries(self, partitions: Sequence[Partition]) -> pa.Table:
        """Return the rows that each file delivered to each of `partitions`, as DELIVERIES."""
        rows = [
            {
                "day": partition.day,
                "segment": partition.segment,
                "source_file": path,
                "file_sha256": self._accounts[path].sha256,
                "file_rows": self._accounts[path].rows,
                "rows": count,
            }
            for partition in partitions
            for path, count in sorted(self._rows_by_file.get(partition, {}).items())
        ]
        return pa.Table.from_pylist(rows, schema=DELIVERIES.schema)
