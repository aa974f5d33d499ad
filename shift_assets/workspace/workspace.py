"""One object that holds an installation together: settings, source, lake, and what is opened from its home."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from shift_assets.ingest.cleaning.engines.engine import EngineName
from shift_assets.ingest.cleaning.engines.selection import resolve_engine
from shift_assets.ingest.rows.load_context import load_parse_context
from shift_assets.ingest.rows.lookup_tables import read_users
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.source.config import Source
from shift_assets.privacy.pseudonym import load_key
from shift_assets.settings.root import Settings
from shift_assets.storage.fence import Fence
from shift_assets.storage.lake import Lake
from shift_assets.workspace.category_models import CategoryModels
from shift_assets.workspace.interest_models import InterestModels
from shift_assets.workspace.quality_gate import GatedReader

if TYPE_CHECKING:
    from shift_assets.storage.warehouse import Warehouse


@dataclass(frozen=True)
class Workspace:
    """What assets, sensors and commands of one installation share. Opens nothing until it is used."""

    settings: Settings
    source: Source

    @cached_property
    def lake(self) -> Lake:
        """Every table, ungated."""
        return Lake(self.settings.lake_root, Fence(self.settings.home / "fence.sqlite"))

    @cached_property
    def reader(self) -> GatedReader:
        """The lake's tables behind the quality gate; it remembers what passed."""
        return GatedReader(self.lake)

    @property
    def warehouse_file(self) -> Path:
        return self.settings.bi / "warehouse.duckdb"

    @cached_property
    def warehouse(self) -> Warehouse:
        """The private DuckDB file, for commands; assets open it with Dagster's resource."""
        from shift_assets.storage.warehouse import Warehouse

        return Warehouse(self.warehouse_file, self.settings.public.minimum_users)

    @cached_property
    def parse_context(self) -> ParseContext:
        """What the strict parser must know; the landed items and users tables are read once."""
        settings = self.settings
        return load_parse_context(self.source, settings.landing, settings.privacy, settings.lateness_days)

    @cached_property
    def users(self) -> pa.Table | None:
        """The landed users table: pseudonym and profile attributes; None where the source has none."""
        return read_users(self.settings.landing, self.source, load_key(self.settings.privacy))

    @property
    def category_models(self) -> CategoryModels:
        return CategoryModels(self.settings.category_models)

    @property
    def interest_models(self) -> InterestModels:
        return InterestModels(self.lake, self.settings.models)

    def engine(self) -> EngineName:
        """The engine that cleans events on this machine.

        Raises:
            EngineError: the settings ask for an engine that cannot run here.
        """
        return resolve_engine(self.settings.engine, self.settings.spark.remote)
