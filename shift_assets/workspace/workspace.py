"""One object that holds an installation together: settings, source, lake, and the folders of its home."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.table import Table
from shift_assets.ingest.cleaning.engines.engine import EngineName
from shift_assets.ingest.cleaning.engines.selection import resolve_engine
from shift_assets.ingest.rows.load_context import load_parse_context
from shift_assets.ingest.rows.lookup_tables import read_users
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.source.config import Source
from shift_assets.privacy.pseudonym import load_key
from shift_assets.quality.gate import require_passed
from shift_assets.settings.root import Settings
from shift_assets.storage.fence import Fence
from shift_assets.storage.lake import Lake, MissingPartition

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shift_assets.ingest.categories.category_model import CategoryModel
    from shift_assets.storage.warehouse import Warehouse

GATED_TABLES = (CLEAN_EVENTS,)
"""Tables whose readers first ask for a passed verdict on the very content they read."""


@dataclass(frozen=True)
class Workspace:
    """What assets, sensors and commands of one installation share. Opens nothing until it is used."""

    settings: Settings
    source: Source

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_root, Fence(self.settings.home / "fence.sqlite"))

    @cached_property
    def warehouse(self) -> Warehouse:
        from shift_assets.storage.warehouse import Warehouse

        return Warehouse(self.settings.bi / "warehouse.duckdb", self.settings.public.minimum_users)

    @cached_property
    def parse_context(self) -> ParseContext:
        """What the strict parser must know; the delivered items and users tables are read once."""
        settings = self.settings
        return load_parse_context(self.source, settings.landing, settings.privacy, settings.lateness_days)

    @cached_property
    def users(self) -> pa.Table | None:
        """The delivered users table: pseudonym and profile attributes; None where the source has none."""
        return read_users(self.settings.landing, self.source, load_key(self.settings.privacy))

    @property
    def category_model_folder(self) -> Path:
        return self.settings.models / "category_model"

    def fit_category_model(self, day: date) -> CategoryModel:
        """Fits the categories on the first landed days from `day`, and keeps them where they are served."""
        from shift_assets.ingest.cleaning.category_window import fit_landed_categories

        engine = self.engine()
        model = fit_landed_categories(
            self.parse_context,
            day,
            seed=self.settings.seed,
            engine=engine,
            spark_remote=self.settings.spark_remote,
            staging=self.settings.staging,
        )
        partial = self.category_model_folder / f".{day.isoformat()}-{uuid.uuid4().hex}"
        model.save(partial)
        target = self.category_model_folder / day.isoformat()
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
        return model

    def category_model(self, day: date) -> CategoryModel:
        """The categories fitted for `day`; raises MissingPartition naming the asset to materialise."""
        from shift_assets.ingest.categories.category_model import CategoryModel

        folder = self.category_model_folder / day.isoformat()
        if not folder.exists():
            raise MissingPartition(
                f"category_model has no partition {day.isoformat()}; materialise it in the UI, or run a range of days: "
                "shift-assets run --from D --to D"
            )
        return CategoryModel.load(folder)

    def engine(self) -> EngineName:
        return resolve_engine(self.settings.engine, self.settings.spark_remote)

    def read(
        self,
        table: Table,
        first_day: date,
        last_day: date,
        segments: Collection[str],
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Rows of the closed range of days; raises GateClosed when a partition of a gated table did not pass."""
        if table in GATED_TABLES:
            self._require_passed(table, first_day, last_day, segments)
        return self.lake.read(table, first_day=first_day, last_day=last_day, segments=segments, columns=columns)

    def read_window(
        self, table: Table, days: Iterable[date], segments: Collection[str], look_back_days: int
    ) -> pa.Table:
        """Rows that the windows of `look_back_days` ending on each of `days` need, read once."""
        requested_days = sorted(days)
        return self.read(table, requested_days[0] - timedelta(days=look_back_days - 1), requested_days[-1], segments)

    def _require_passed(self, table: Table, first_day: date, last_day: date, segments: Collection[str]) -> None:
        digests = {
            partition: published.digest
            for partition, published in self.lake.published(table).items()
            if first_day <= partition.day <= last_day
            and partition.segment in segments
            and (table.name, partition, published.digest) not in self._passed
        }
        if digests:
            days = days_of(digests)
            check_results = self.lake.read(QUALITY_VERDICTS, first_day=days[0], last_day=days[-1], segments=segments)
            require_passed(check_results, table, digests)
            self._passed.update((table.name, partition, digest) for partition, digest in digests.items())

    @contextmanager
    def spark_if_large(self, size: int, threshold: int) -> Iterator[SparkSession | None]:
        """A session for work of that `size`, where Spark is the engine and the size reaches the `threshold`."""
        if size < threshold or self.engine() != "spark":
            yield None
            return
        from shift_assets.ingest.cleaning.engines.spark import spark_session

        with spark_session(self.settings.spark_remote) as session:
            yield session

    @cached_property
    def _passed(self) -> set[tuple[str, Partition, str]]:
        """Content that passed its gate: a verdict on a digest stands, so it is asked for once."""
        return set()


def days_of(partitions: Iterable[Partition]) -> list[date]:
    """The distinct days, in order."""
    return sorted({partition.day for partition in partitions})


def segments_of(partitions: Iterable[Partition]) -> list[str]:
    """The distinct segments, in order."""
    return sorted({partition.segment for partition in partitions})
