"""Cleaning: delivered files in, clean and rejected events of the asked partitions out, every row accounted for.

The parser judges each row alone; what concerns several rows (duplicates, bursts, categories) is SQL in
`sql/clean/`, run by one of two engines with the same answer. Each file is parsed once, however many days read it.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.sql_text import read_sql
from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.cleaning.accounts import FileAccount, OpenAccount
from shift_assets.ingest.cleaning.chunk_plan import Chunk, plan_chunks
from shift_assets.ingest.cleaning.engines.engine import Engine, EngineName
from shift_assets.ingest.cleaning.engines.selection import open_engine
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.settings.root import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleanedChunk:
    """A run of whole days, cleaned: rows of exactly `partitions`, sorted by partition and key.

    `delivered` says how many rows of each file fell to each partition, as the parser counted them before any row
    was settled. `file_accounts` are the files that no later chunk reads, each with what became of it in all chunks.
    """

    partitions: tuple[Partition, ...]
    clean: pa.Table  # CLEAN_EVENTS
    rejected: pa.Table  # REJECTED_EVENTS
    delivered: pa.Table  # DELIVERIES
    file_accounts: tuple[FileAccount, ...]


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
            run = _CleaningRun(opened, context, settings, categories, frozenset(product(days, segments)), workspace)
            for number, chunk in enumerate(chunks):
                yield run.clean_chunk(chunk, {file for later in chunks[number + 1 :] for file in later.files})
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


@dataclass
class _CleaningRun:
    """One call of `clean`: the engine, the parsed files that are still needed, and the accounts of all files."""

    engine: Engine
    context: ParseContext
    settings: Settings
    categories: CategoryModel
    requested: frozenset[tuple[date, str]]
    workspace: Path
    parsed: dict[Path, set[SourceFile]] = field(default_factory=dict)
    accounts: dict[str, OpenAccount] = field(default_factory=dict)
    rows_by_file: dict[Partition, dict[str, int]] = field(default_factory=dict)  # rows by file

    def clean_chunk(self, chunk: Chunk, needed_later: Collection[SourceFile]) -> CleanedChunk:
        partitions = tuple(sorted(Partition(day, segment) for day, segment in self.requested if day in chunk.days))
        self._parse([file for file in chunk.files if file.path not in self.accounts])
        if chunk.files:
            clean_rows, rejected_rows = self._apply_set_logic(partitions)
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
        return CleanedChunk(partitions, clean_rows, rejected_rows, self._deliveries_table(partitions), finished)

    def _parse(self, files: Sequence[SourceFile]) -> None:
        if not files:
            return
        folder = self.workspace / f"parsed-{len(self.accounts):06d}"
        tallies = {tally.path: tally for tally in self.engine.parse(self.context, files, folder)}
        for file in files:
            self.accounts[file.path] = OpenAccount(file, tallies[file.path].sha256, tallies[file.path].rows)
        self.parsed[folder] = set(files)
        self.engine.register("parsed", [folder])
        for row in self.engine.rows(read_sql("clean/landed.sql")).to_pylist():
            partition = Partition(row["day"], row["segment"])
            if partition in self.requested:
                self.rows_by_file.setdefault(partition, {})[row["source_file"]] = row["landed_rows"]
            else:
                self.accounts[row["source_file"]].not_requested += row["landed_rows"]

    def _deliveries_table(self, partitions: Sequence[Partition]) -> pa.Table:
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
            for path, count in sorted(self.rows_by_file.get(partition, {}).items())
        ]
        return pa.Table.from_pylist(rows, schema=DELIVERIES.schema)

    def _apply_set_logic(self, partitions: Sequence[Partition]) -> tuple[pa.Table, pa.Table]:
        """The clean and the rejected rows of `partitions`, from every parsed file at hand."""
        engine = self.engine
        engine.register("parsed", list(self.parsed))
        self._register(
            "asked", pa.table({"day": [p.day for p in partitions], "segment": [p.segment for p in partitions]})
        )
        self._register("rules", self._rules())
        self._register("known_categories", self.categories.assignments)
        engine.define_view("accepted", read_sql("clean/accepted.sql"))
        texts = sorted(engine.rows(read_sql("clean/unknown_texts.sql"))["text"].to_pylist())
        self._register(
            "text_categories",
            pa.table(
                {
                    "text": pa.array(texts, pa.string()),
                    "category": pa.array(self.categories.predict(texts), pa.string()),
                }
            ),
        )
        engine.materialize("duplicates", read_sql("clean/duplicates.sql"))
        engine.materialize("bots", read_sql("clean/bots.sql"))
        engine.define_view("verdicts", read_sql("clean/verdicts.sql"))
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

    def _register(self, name: str, rows: pa.Table) -> None:
        """Hand a small table to the engine, in a file as everything else."""
        path = self.workspace / f"{name}-{uuid.uuid4().hex}.parquet"
        pq.write_table(rows, path)
        self.engine.register(name, [path])

    def _release(self, needed_later: Collection[SourceFile]) -> None:
        for folder, files in list(self.parsed.items()):
            if files.isdisjoint(needed_later):
                shutil.rmtree(folder)
                del self.parsed[folder]
