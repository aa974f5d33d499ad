"""One object that holds an installation together: settings, source, lake, and the folders of its home."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from shift_assets.contracts import CLEAN_EVENTS, QUALITY_VERDICTS, Partition, Table
from shift_assets.ingest.context import ParseContext
from shift_assets.ingest.engines import EngineName, resolve_engine
from shift_assets.ingest.lookups import make_context, read_users
from shift_assets.ingest.source import Source
from shift_assets.privacy.pseudonym import load_key
from shift_assets.quality.gate import require_passed
from shift_assets.resources.fence import Fence
from shift_assets.resources.lake import Lake
from shift_assets.settings import Settings

if TYPE_CHECKING:
    from shift_assets.resources.warehouse import Warehouse

GATED_TABLES = (CLEAN_EVENTS,)
"""Tables whose readers first ask for a passed verdict on the very content they read."""


@dataclass(frozen=True)
class Platform:
    """What assets, sensors and commands of one installation share. Opens nothing until it is used."""

    settings: Settings
    source: Source

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_root, Fence(self.settings.home / "fence.sqlite"))

    @cached_property
    def warehouse(self) -> Warehouse:
        from shift_assets.resources.warehouse import Warehouse

        return Warehouse(self.settings.bi / "warehouse.duckdb", self.settings.public.minimum_users)

    @cached_property
    def parse_context(self) -> ParseContext:
        """What the strict parser must know; the delivered items and users tables are read once."""
        settings = self.settings
        return make_context(self.source, settings.landing, settings.privacy, settings.lateness_days)

    @cached_property
    def users(self) -> pa.Table | None:
        """The delivered users table: pseudonym and profile attributes; None where the source has none."""
        return read_users(self.settings.landing, self.source, load_key(self.settings.privacy))

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
        asked = sorted(days)
        return self.read(table, asked[0] - timedelta(days=look_back_days - 1), asked[-1], segments)

    def _require_passed(self, table: Table, first_day: date, last_day: date, segments: Collection[str]) -> None:
        digests = {
            partition: published.digest
            for partition, published in self.lake.published(table).items()
            if first_day <= partition.day <= last_day and partition.segment in segments
        }
        verdicts = self.lake.read(QUALITY_VERDICTS, first_day=first_day, last_day=last_day, segments=segments)
        require_passed(verdicts, table, digests)


def days_of(partitions: Iterable[Partition]) -> list[date]:
    """The distinct days, in order."""
    return sorted({partition.day for partition in partitions})


def segments_of(partitions: Iterable[Partition]) -> list[str]:
    """The distinct segments, in order."""
    return sorted({partition.segment for partition in partitions})
