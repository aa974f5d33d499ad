"""The lake: one Delta table per contract, one Parquet file per (day, segment), replaced by one atomic commit.

A file's name contains the content digest of its rows, so that existence, row count and digest of a partition come
from the same log entry as its data: an empty partition is a file without rows, not a missing file. Files are
written first; the commit then names exactly the files to remove and to add. Readers take the file list of one version
of the log, never a directory listing.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table
from shift_assets.errors import PermanentError
from shift_assets.storage.fence import Claim, Fence

_logger = logging.getLogger(__name__)

PARTITION_BY = ["day", "segment"]


class MissingPartition(PermanentError):
    """A required partition was never materialised; the message names it and the command that materialises it."""


@dataclass(frozen=True, slots=True)
class Published:
    """The published file of one partition: rows, content digest, path relative to the table."""

    rows: int
    digest: str
    path: str


class Lake:
    """Reads and replaces partitions under `root`, a folder; `fence` decides who may publish."""

    def __init__(self, root: str | Path, fence: Fence) -> None:
        self.root = Path(root)
        self._fence = fence

    def claim(self, table: Table, partitions: Iterable[Partition], holder: str) -> Claim:
        """Claim the right to publish partitions. Claim before computing, so that a superseded attempt is refused."""
        return self._fence.claim(table.name, partitions, holder)

    def publish(self, table: Table, rows: pa.Table, claim: Claim) -> dict[Partition, Published]:
        """Replace every claimed partition by its rows of `rows`, in one commit.

        A partition whose digest did not change is not written.

        Args:
            table: The table.
            rows: Rows of the claimed partitions; a claimed partition without rows becomes empty.
            claim: The claim on the partitions.

        Returns:
            The published file of each claimed partition.

        Raises:
            ContractError: The rows break the contract.
            ValueError: There are rows of partitions that were not claimed.
            FencedOut: A later attempt claimed one of the partitions.
        """
        started = time.monotonic()
        ordered = table.conform(rows).sort_by([(name, "ascending") for name in (*PARTITION_BY, *_own_key(table))])
        parts = _split(ordered, claim.partitions, table.name)
        digests = content_digests(ordered)
        log = self._open_or_create(table)
        existing = _live_files(log)
        changed = {
            partition: part
            for partition, part in parts.items()
            if partition not in existing or existing[partition].digest != digests.get(partition, EMPTY_DIGEST)
        }
        written = {
            partition: self._write(table, partition, part, digests.get(partition, EMPTY_DIGEST))
            for partition, part in changed.items()
        }
        if written:
            with self._fence.holding(claim):
                self._commit(table, written, claim)
        seconds = time.monotonic() - started
        _logger.info(
            "published %s: %d rows, %d of %d partitions changed in %.1f s",
            table.name,
            rows.num_rows,
            len(written),
            len(parts),
            seconds,
        )
        result = {partition: existing[partition] for partition in parts if partition not in written}
        return {partition: result.get(partition) or written[partition] for partition in sorted(parts)}

    def published(self, table: Table) -> dict[Partition, Published]:
        """Return the published file of every partition of `table`."""
        log = self._open(table)
        return _live_files(log) if log else {}

    def read(
        self,
        table: Table,
        *,
        first_day: date | None = None,
        last_day: date | None = None,
        segments: Collection[str] | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Read rows of a closed range of days.

        A column that a partition was written without is null in it.

        Args:
            table: The table.
            first_day: First day; open-ended when None.
            last_day: Last day, inclusive; open-ended when None.
            segments: Segments to read; None: all.
            columns: Columns to read; None: all.

        Raises:
            PermanentError: A partition was written without a column that may not be null.
        """
        names = columns or table.schema.names
        paths = self.files(table, first_day=first_day, last_day=last_day, segments=segments)
        schema = pa.schema([table.schema.field(name) for name in names])
        pieces = []
        for partition, path in paths.items():
            file = pq.ParquetFile(path)
            written = set(file.schema_arrow.names)
            later = [name for name in names if name not in PARTITION_BY and name not in written]
            for column in map(table.column, later):
                if not column.nullable:
                    raise PermanentError(
                        f"table {table.name}: {partition.day}|{partition.segment} was written before the table had a "
                        f"column {column.name}; materialise it again"
                    )
            part = file.read(columns=[name for name in names if name in written])
            arrays = {name: part[name] for name in part.column_names}
            arrays |= {name: pa.nulls(part.num_rows, table.column(name).type) for name in later}
            arrays["day"] = pa.repeat(pa.scalar(partition.day, pa.date32()), part.num_rows)
            arrays["segment"] = pa.repeat(pa.scalar(partition.segment, pa.string()), part.num_rows)
            pieces.append(pa.table([arrays[name] for name in names], schema=schema))
        return pa.concat_tables(pieces) if pieces else schema.empty_table()

    def files(
        self,
        table: Table,
        *,
        first_day: date | None = None,
        last_day: date | None = None,
        segments: Collection[str] | None = None,
    ) -> dict[Partition, Path]:
        """Return the Parquet file of each requested partition, all of one version of the table."""
        return {
            partition: self.root / table.name / published.path
            for partition, published in sorted(self.published(table).items())
            if (first_day is None or partition.day >= first_day)
            and (last_day is None or partition.day <= last_day)
            and (segments is None or partition.segment in segments)
        }

    def require(self, table: Table, partitions: Iterable[Partition]) -> dict[Partition, Published]:
        """Return the published files of `partitions`.

        Raises:
            MissingPartition: Some were never materialised; the message names the first.
        """
        existing = self.published(table)
        missing = sorted(partition for partition in partitions if partition not in existing)
        if missing:
            day, segment = missing[0]
            last = max(partition.day for partition in missing if partition.segment == segment)
            raise MissingPartition(
                f"{table.name} has no partition {day.isoformat()}|{segment}; materialise it first: shift-assets run "
                f"--from {day.isoformat()} --to {last.isoformat()} --segment {segment}"
            )
        return {partition: existing[partition] for partition in partitions}

    def drop(self, table: Table, partitions: Collection[Partition], holder: str) -> int:
        """Remove partitions, for retention; return how many existed."""
        claim = self.claim(table, partitions, holder)
        with self._fence.holding(claim):
            log = self._open(table)
            if log is None:
                return 0
            existing = {p: published for p, published in _live_files(log).items() if p in claim.partitions}
            if existing:
                log.create_write_transaction(
                    [_removal(p, published) for p, published in existing.items()],
                    "append",
                    table.schema,
                    PARTITION_BY,
                )
        return len(existing)

    def vacuum(self, table: Table, retention_hours: int) -> list[str]:
        """Delete files that no version of the last `retention_hours` names, and compact the log; return the files."""
        log = self._open(table)
        if log is None:
            return []
        deleted: list[str] = log.vacuum(
            retention_hours=retention_hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=True,  # also files of interrupted publishes, which no version ever named
        )
        log.create_checkpoint()
        log.cleanup_metadata()
        return deleted

    def _commit(self, table: Table, written: Mapping[Partition, Published], claim: Claim) -> None:
        log = self._open_or_create(table)
        existing = _live_files(log)
        actions: list[AddAction | RemoveAction] = [
            _removal(partition, existing[partition]) for partition in written if partition in existing
        ]
        now = int(time.time() * 1000)
        actions += [
            AddAction(
                published.path,
                (self.root / table.name / published.path).stat().st_size,
                {"day": partition.day.isoformat(), "segment": partition.segment},
                now,
                True,
                json.dumps({"numRecords": published.rows}),
            )
            for partition, published in written.items()
        ]
        log.create_write_transaction(
            actions,
            "append",
            table.schema,
            PARTITION_BY,
            commit_properties=CommitProperties(custom_metadata={"attempt": str(claim.token)}),
        )

    def _write(self, table: Table, partition: Partition, part: pa.Table, digest: str) -> Published:
        folder = Path(f"day={partition.day.isoformat()}") / f"segment={partition.segment}"
        relative = folder / f"{digest}-{uuid.uuid4().hex[:8]}.parquet"
        target = self.root / table.name / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            pq.write_table(part.drop_columns(PARTITION_BY), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        return Published(part.num_rows, digest, relative.as_posix())

    def _open(self, table: Table) -> DeltaTable | None:
        try:
            return DeltaTable(self.root / table.name)
        except TableNotFoundError:
            return None

    def _open_or_create(self, table: Table) -> DeltaTable:
        log = self._open(table)
        if log is not None:
            return log
        return DeltaTable.create(
            self.root / table.name, table.schema, mode="ignore", partition_by=PARTITION_BY, description=table.grain
        )


EMPTY_DIGEST = "0" * 32
"""Digest of a partition without rows."""


def content_digests(rows: pa.Table) -> dict[Partition, str]:
    """Return a digest of the rows of each partition: sum and exclusive or of DuckDB's row hash.

    32 hexadecimal characters; the same rows in any order and chunking give the same digest.
    """
    connection = duckdb.connect()
    try:
        connection.register("digested", rows)
        digests = connection.execute(
            "select day, segment, sum(h)::hugeint % 18446744073709551616::hugeint, bit_xor(h) from "
            "(select day, segment, hash(digested) as h from digested) group by all"
        ).fetchall()
    finally:
        connection.close()
    return {Partition(day, segment): f"{int(total):016x}{int(xor):016x}" for day, segment, total, xor in digests}


def _own_key(table: Table) -> list[str]:
    return [name for name in table.key if name not in PARTITION_BY]


def partition_slices(rows: pa.Table) -> Iterator[tuple[Partition, pa.Table]]:
    """Yield the rows of each (day, segment) as slices, in that order (`group_by` guarantees none)."""
    ordered = rows.sort_by([(name, "ascending") for name in PARTITION_BY])
    yield from _consecutive_slices(ordered)


def _consecutive_slices(ordered: pa.Table) -> Iterator[tuple[Partition, pa.Table]]:
    if not ordered.num_rows:
        return
    day = ordered["day"].cast(pa.int32()).to_numpy()
    segment = ordered["segment"].combine_chunks().dictionary_encode().indices.to_numpy()
    boundaries = np.flatnonzero((np.diff(day) != 0) | (np.diff(segment) != 0)) + 1
    for start, end in itertools.pairwise([0, *boundaries.tolist(), ordered.num_rows]):
        part = ordered.slice(start, end - start)
        yield Partition(part["day"][0].as_py(), part["segment"][0].as_py()), part


def _split(ordered: pa.Table, claimed: Collection[Partition], name: str) -> dict[Partition, pa.Table]:
    parts = {partition: ordered.slice(0, 0) for partition in claimed}
    for partition, part in _consecutive_slices(ordered):
        if partition not in parts:
            raise ValueError(f"{name}: rows of {partition.day}|{partition.segment}, a partition that was not asked for")
        parts[partition] = part
    return parts


def _live_files(log: DeltaTable) -> dict[Partition, Published]:
    actions = pa.table(log.get_add_actions(flatten=True))
    if not actions.num_rows:
        return {}
    days = actions["partition.day"]
    if not pa.types.is_date(days.type):
        days = pc.cast(days, pa.date32())
    return {
        Partition(day, segment): Published(rows, Path(path).name.split("-")[0], path)
        for day, segment, rows, path in zip(
            days.to_pylist(),
            actions["partition.segment"].to_pylist(),
            actions["num_records"].to_pylist(),
            actions["path"].to_pylist(),
            strict=True,
        )
    }


def _removal(partition: Partition, published: Published) -> RemoveAction:
    return RemoveAction(
        published.path,
        True,
        int(time.time() * 1000),
        partition_values={"day": partition.day.isoformat(), "segment": partition.segment},
    )
