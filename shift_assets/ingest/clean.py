"""Cleaning: delivered files in, clean and rejected events of the asked partitions out, every row accounted for.

The parser judges each row alone; what concerns several rows (duplicates, bursts, categories) is SQL in
`sql/clean/`, run by one of two engines with the same answer. Each file is parsed once, however many days read it.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.contracts import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS, Partition
from shift_assets.ingest.categories import CategoryModel
from shift_assets.ingest.context import ParseContext
from shift_assets.ingest.engines import Engine, EngineName, open_engine
from shift_assets.ingest.files import Delivered, delivered_files
from shift_assets.settings import Settings
from shift_assets.sqltext import read_sql

CHUNK_BYTES = 192 * 1024 * 1024
"""Uncompressed bytes of the day folders of one chunk, as EXPANSION estimates them: 1.3 million JSON lines, 0.3 GB as
clean events. Cleaning then stays below 4 GiB, Spark's server and workers included."""
EXPANSION = 8
"""Times that events grow when they are read out of gzip, zstd or Parquet: 5 to 12 measured."""
_PLAIN = (".jsonl", ".json", ".csv", ".tsv", ".txt")

logger = logging.getLogger(__name__)


class AccountingError(RuntimeError):
    """Rows of a delivered file were lost or doubled; nothing of the run may be published."""


@dataclass(frozen=True)
class Delivery:
    """What became of one delivered file: `rows` = `clean` + rows `rejected` + `not_asked`."""

    path: str
    folder_day: date
    sha256: str
    rows: int
    clean: int
    rejected: dict[str, int]  # rows by reason
    not_asked: int  # rows of partitions that were not asked for


@dataclass(frozen=True)
class CleanedChunk:
    """A run of whole days, cleaned: rows of exactly `partitions`, sorted by partition and key.

    `delivered` says how many rows of each file fell to each partition, as the parser counted them before any row
    was settled. `deliveries` are the files that no later chunk reads, each with what became of it in all chunks.
    """

    partitions: tuple[Partition, ...]
    clean: pa.Table  # CLEAN_EVENTS
    rejected: pa.Table  # REJECTED_EVENTS
    delivered: pa.Table  # DELIVERIES
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class Chunk:
    """Days that are cleaned together, and the files they read."""

    days: tuple[date, ...]
    files: tuple[Delivered, ...]


def clean(
    context: ParseContext,
    days: Collection[date],
    segments: Collection[str],
    *,
    settings: Settings,
    categories: CategoryModel,
    engine: EngineName,
    staging: Path,
) -> Iterator[CleanedChunk]:
    """Clean every partition of `days` × `segments`, a chunk of days at a time, in order.

    The partition of day D reads the landing folders D to D + `settings.lateness_days`. Work in progress lies in a
    fresh folder under `staging` until the iterator ends. Raises AccountingError naming the file whose rows do not
    add up, EngineError, and FileChangedError for a file that is still being written.
    """
    chunks = plan_chunks(context.landing, days, settings.lateness_days)
    if not chunks:
        return
    workspace = staging / f"clean-{uuid.uuid4().hex}"
    workspace.mkdir(parents=True)
    try:
        with open_engine(engine, settings, workspace) as opened:
            run = _Run(opened, context, settings, categories, frozenset(product(days, segments)), workspace)
            for number, chunk in enumerate(chunks):
                yield run.clean_chunk(chunk, {file for later in chunks[number + 1 :] for file in later.files})
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def plan_chunks(landing: Path, days: Collection[date], lateness_days: int) -> list[Chunk]:
    """`days` in order, as many to a chunk as CHUNK_BYTES of their own folders hold, at least one."""
    ordered = sorted(set(days))
    if not ordered:
        return []
    lateness = timedelta(days=lateness_days)
    by_folder: dict[date, list[Delivered]] = {}
    for file in delivered_files(landing, ordered[0], ordered[-1] + lateness):
        by_folder.setdefault(file.folder_day, []).append(file)
    groups: list[list[date]] = []
    filled = 0
    for day in ordered:
        size = sum(_plain_bytes(file) for file in by_folder.get(day, []))
        if not groups or filled + size > CHUNK_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(day)
        filled += size
    return [
        Chunk(
            tuple(group),
            tuple(
                file
                for folder in sorted({day + timedelta(days=late) for day in group for late in range(lateness_days + 1)})
                for file in by_folder.get(folder, [])
            ),
        )
        for group in groups
    ]


def _plain_bytes(file: Delivered) -> int:
    return file.size if file.path.lower().endswith(_PLAIN) else file.size * EXPANSION


@dataclass
class _Account:
    """A delivered file while it is being cleaned."""

    file: Delivered
    sha256: str
    rows: int
    clean: int = 0
    not_asked: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def close(self) -> Delivery:
        """Raises AccountingError where the rows do not add up."""
        outcome = self.clean + self.rejected.total() + self.not_asked
        if outcome != self.rows:
            raise AccountingError(
                f"{self.file.path} ({self.sha256}): {self.rows} rows delivered, but {self.clean} clean + "
                f"{self.rejected.total()} rejected + {self.not_asked} of partitions not asked for make {outcome}"
            )
        return Delivery(
            self.file.path,
            self.file.folder_day,
            self.sha256,
            self.rows,
            self.clean,
            dict(sorted(self.rejected.items())),
            self.not_asked,
        )


@dataclass
class _Run:
    """One call of `clean`: the engine, the parsed files that are still needed, and the accounts of all files."""

    engine: Engine
    context: ParseContext
    settings: Settings
    categories: CategoryModel
    asked: frozenset[tuple[date, str]]
    workspace: Path
    parsed: dict[Path, set[Delivered]] = field(default_factory=dict)
    accounts: dict[str, _Account] = field(default_factory=dict)
    landed: dict[Partition, dict[str, int]] = field(default_factory=dict)  # rows by file

    def clean_chunk(self, chunk: Chunk, needed_later: Collection[Delivered]) -> CleanedChunk:
        partitions = tuple(sorted(Partition(day, segment) for day, segment in self.asked if day in chunk.days))
        self._parse([file for file in chunk.files if file.path not in self.accounts])
        if chunk.files:
            clean_rows, rejected_rows = self._settle(partitions)
        else:
            clean_rows, rejected_rows = CLEAN_EVENTS.empty(), REJECTED_EVENTS.empty()
        for file in pc.value_counts(clean_rows["source_file"]).to_pylist():
            self.accounts[file["values"]].clean += file["counts"]
        for row in rejected_rows.select(["source_file", "reason"]).to_pylist():
            self.accounts[row["source_file"]].rejected[row["reason"]] += 1
        finished = tuple(self.accounts[file.path].close() for file in chunk.files if file not in needed_later)
        self._release(needed_later)
        logger.info(
            "cleaned %s to %s: %d clean, %d rejected rows",
            chunk.days[0],
            chunk.days[-1],
            clean_rows.num_rows,
            rejected_rows.num_rows,
        )
        return CleanedChunk(partitions, clean_rows, rejected_rows, self._delivered(partitions), finished)

    def _parse(self, files: Sequence[Delivered]) -> None:
        if not files:
            return
        folder = self.workspace / f"parsed-{len(self.accounts):06d}"
        tallies = {tally.path: tally for tally in self.engine.parse(self.context, files, folder)}
        for file in files:
            self.accounts[file.path] = _Account(file, tallies[file.path].sha256, tallies[file.path].rows)
        self.parsed[folder] = set(files)
        self.engine.open("parsed", [folder])
        for row in self.engine.rows(read_sql("clean/landed.sql")).to_pylist():
            partition = Partition(row["day"], row["segment"])
            if partition in self.asked:
                self.landed.setdefault(partition, {})[row["source_file"]] = row["landed_rows"]
            else:
                self.accounts[row["source_file"]].not_asked += row["landed_rows"]

    def _delivered(self, partitions: Sequence[Partition]) -> pa.Table:
        rows = [
            {
                "day": partition.day,
                "segment": partition.segment,
                "source_file": path,
                "file_sha256": self.accounts[path].sha256,
                "file_rows": self.accounts[path].rows,
                "rows": count,
            }
            for partition in partitions
            for path, count in sorted(self.landed.get(partition, {}).items())
        ]
        return pa.Table.from_pylist(rows, schema=DELIVERIES.schema)

    def _settle(self, partitions: Sequence[Partition]) -> tuple[pa.Table, pa.Table]:
        """The clean and the rejected rows of `partitions`, from every parsed file at hand."""
        engine = self.engine
        engine.open("parsed", list(self.parsed))
        self._give("asked", pa.table({"day": [p.day for p in partitions], "segment": [p.segment for p in partitions]}))
        self._give("rules", self._rules())
        self._give("known_categories", self.categories.known)
        engine.view("accepted", read_sql("clean/accepted.sql"))
        texts = sorted(engine.rows(read_sql("clean/unknown_texts.sql"))["text"].to_pylist())
        self._give(
            "text_categories",
            pa.table(
                {
                    "text": pa.array(texts, pa.string()),
                    "category": pa.array(self.categories.predict(texts), pa.string()),
                }
            ),
        )
        engine.keep("duplicates", read_sql("clean/duplicates.sql"))
        engine.keep("bots", read_sql("clean/bots.sql"))
        engine.view("verdicts", read_sql("clean/verdicts.sql"))
        return (
            CLEAN_EVENTS.conform(engine.rows(read_sql("clean/clean.sql"))),
            REJECTED_EVENTS.conform(engine.rows(read_sql("clean/rejected.sql"))),
        )

    def _rules(self) -> pa.Table:
        bots = self.settings.bots
        return pa.table(
            {
                "source": [self.context.source.name],
                "category_kind": [self.categories.kind],
                "events_per_minute": [bots.events_per_minute],
                "events_per_day": [bots.events_per_day],
            }
        )

    def _give(self, name: str, rows: pa.Table) -> None:
        """Hand a small table to the engine, in a file as everything else."""
        path = self.workspace / f"{name}-{uuid.uuid4().hex}.parquet"
        pq.write_table(rows, path)
        self.engine.open(name, [path])

    def _release(self, needed_later: Collection[Delivered]) -> None:
        for folder, files in list(self.parsed.items()):
            if files.isdisjoint(needed_later):
                shutil.rmtree(folder)
                del self.parsed[folder]
