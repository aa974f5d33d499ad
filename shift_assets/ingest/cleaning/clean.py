"""Clean source files: clean and rejected events of the requested partitions, with every row accounted for.

The parser decides what concerns a single row; what needs several rows (duplicates, bursts, categories) is the SQL of
`sql/clean/`, which either engine runs with the same result. Each file is parsed once, however many days read it.
"""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import product
from pathlib import Path

import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.sql_text import read_sql
from shift_assets.ingest.categories.category_timeline import CategoryTimeline
from shift_assets.ingest.cleaning.accounts import FileAccount, FileAccounts
from shift_assets.ingest.cleaning.chunk_plan import Chunk, plan_chunks
from shift_assets.ingest.cleaning.engines.engine import Engine, EngineName
from shift_assets.ingest.cleaning.engines.selection import open_engine
from shift_assets.ingest.cleaning.set_logic import SetLogic
from shift_assets.ingest.readers.source_files import SourceFile, list_source_files
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.settings.root import BotSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleanedChunk:
    """A run of whole days, cleaned: the rows of exactly `partitions`, sorted by partition and key.

    Attributes:
        clean: CLEAN_EVENTS.
        rejected: REJECTED_EVENTS.
        deliveries: DELIVERIES: rows of each file by partition, counted by the parser before the set logic.
        file_accounts: Files that no later chunk reads, with their counts over all chunks.
    """

    partitions: tuple[Partition, ...]
    clean: pa.Table
    rejected: pa.Table
    deliveries: pa.Table
    file_accounts: tuple[FileAccount, ...]


def clean(
    context: ParseContext,
    days: Collection[date],
    segments: Collection[str],
    *,
    bots: BotSettings,
    categories: CategoryTimeline,
    engine: EngineName,
    spark_remote: str,
    staging: Path,
) -> Iterator[CleanedChunk]:
    """Clean every partition of `days` × `segments`, a chunk of days at a time, in order.

    The partition of day D reads the landing folders D to D + `context.lateness_days`. Temporary files are kept in a
    new folder under `staging` until the iterator ends.

    Args:
        context: The source, its landing folder and what the parser needs to know.
        days: Days to clean.
        segments: Segments to clean.
        bots: Limits above which a user's events are rejected.
        categories: The categories of units and texts; they are moved on to the newest day that is cleaned.
        engine: The engine that parses the files and runs the set logic.
        spark_remote: Where Spark runs, if it is the engine.
        staging: Folder for temporary files.

    Yields:
        The cleaned rows of each chunk.

    Raises:
        AccountingError: The rows of a file do not add up; the message names it.
        EngineError: The engine cannot run here.
        FileChangedError: A source file is still being written.
    """
    chunks = plan_chunks(context.landing, days, context.lateness_days)
    if not chunks:
        return
    workspace = staging / f"clean-{uuid.uuid4().hex}"
    workspace.mkdir(parents=True)
    try:
        with open_engine(engine, spark_remote, workspace) as opened:
            run = _CleaningRun(
                opened,
                context,
                workspace,
                categories,
                SetLogic(opened, workspace, context.source.name, bots, categories),
                FileAccounts(frozenset(Partition(day, segment) for day, segment in product(days, segments))),
            )
            run.read_earlier_visits(chunks)
            for number, chunk in enumerate(chunks):
                yield run.clean_chunk(chunk, {file for later in chunks[number + 1 :] for file in later.files})
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


@dataclass
class _CleaningRun:
    """One call of `clean`: the parsed folders that are still needed, the set logic and the accounts of all files."""

    engine: Engine
    context: ParseContext
    workspace: Path
    categories: CategoryTimeline
    set_logic: SetLogic
    accounts: FileAccounts
    parsed: dict[Path, set[SourceFile]] = field(default_factory=dict)

    def read_earlier_visits(self, chunks: Sequence[Chunk]) -> None:
        """Parse the landed days of which the categories must know, and that neither they nor the chunks have read."""
        if not self.categories.grows:
            return
        days = {day for chunk in chunks for day in chunk.days}
        read_anyway = {file.folder_day for chunk in chunks for file in chunk.files}
        landed = {
            file.folder_day for file in list_source_files(self.context.landing, date.min, max(days) - timedelta(days=1))
        }
        missing = self.categories.missing_visits(days, landed - read_anyway)
        if missing:
            logger.info("reading %d landed days once more, for the categories of later items", len(missing))
        for chunk in plan_chunks(self.context.landing, missing, 0):
            folder = self.workspace / f"visits-{chunk.days[0].isoformat()}"
            self.engine.parse(self.context, chunk.files, folder)
            self.engine.register("parsed", [folder])
            self._keep_visits()
            shutil.rmtree(folder)

    def clean_chunk(self, chunk: Chunk, needed_later: Collection[SourceFile]) -> CleanedChunk:
        started = time.monotonic()
        partitions = tuple(sorted(partition for partition in self.accounts.requested if partition.day in chunk.days))
        self._parse([file for file in chunk.files if file not in self.accounts])
        if self.categories.grows:
            self.categories.advance(chunk.days)
        if chunk.files:
            clean_rows, rejected_rows = self.set_logic.apply(list(self.parsed), partitions)
        else:
            clean_rows, rejected_rows = CLEAN_EVENTS.empty(), REJECTED_EVENTS.empty()
        self.accounts.add(clean_rows, rejected_rows)
        finished = tuple(self.accounts.close(file) for file in chunk.files if file not in needed_later)
        self._release(needed_later)
        logger.info(
            "cleaned %s to %s: %d clean and %d rejected rows in %.1f s",
            chunk.days[0],
            chunk.days[-1],
            clean_rows.num_rows,
            rejected_rows.num_rows,
            time.monotonic() - started,
        )
        return CleanedChunk(partitions, clean_rows, rejected_rows, self.accounts.deliveries(partitions), finished)

    def _parse(self, files: Sequence[SourceFile]) -> None:
        """Parse files into a new folder, and open their accounts."""
        if not files:
            return
        folder = self.workspace / f"parsed-{len(self.accounts):06d}"
        tallies = self.engine.parse(self.context, files, folder)
        self.parsed[folder] = set(files)
        self.engine.register("parsed", [folder])
        self.accounts.open(files, tallies, self.engine.rows(read_sql("clean/landed.sql")))
        if self.categories.grows:
            self._keep_visits()

    def _keep_visits(self) -> None:
        """Hand the rows of the relation `parsed` to the categories, as visits."""
        self.categories.add_visits(self.engine.rows(read_sql("clean/daily_units.sql")))

    def _release(self, needed_later: Collection[SourceFile]) -> None:
        """Delete the parsed folders of which no file is needed by a later chunk."""
        for folder, files in list(self.parsed.items()):
            if files.isdisjoint(needed_later):
                shutil.rmtree(folder)
                del self.parsed[folder]
