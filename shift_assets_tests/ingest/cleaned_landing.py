"""Cleaning a landing folder in a test: everything real, nothing but the result collected."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.category_timeline import CategoryTimeline
from shift_assets.ingest.cleaning.accounts import FileAccount
from shift_assets.ingest.cleaning.clean import CleanedChunk, clean
from shift_assets.ingest.cleaning.engines.engine import EngineName
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.settings.root import Settings

DELIVERED = CategoryModel("delivered")


@dataclass(frozen=True)
class Cleaned:
    """All chunks of one call together."""

    partitions: list[Partition]
    clean: pa.Table
    rejected: pa.Table
    file_accounts: list[FileAccount]

    def outcomes(self) -> dict[tuple[str, int], str]:
        """(file name, row): `clean`, or the reason of the rejection."""
        found = {(Path(row["source_file"]).name, row["source_row"]): row["reason"] for row in self.rejected.to_pylist()}
        for row in self.clean.to_pylist():
            found[(Path(row["source_file"]).name, row["source_row"])] = "clean"
        return found


def cleaned(
    context: ParseContext,
    days: Collection[date],
    engine: EngineName = "embedded",
    *,
    segments: Collection[str] | None = None,
    categories: CategoryModel | CategoryTimeline = DELIVERED,
    **settings: Any,
) -> Cleaned:
    """Clean `days` of the landing folder of `context`; staging is next to it, in a folder with a space."""
    home = context.landing.parent
    configured = Settings(home=home, **settings)
    return collected(
        clean(
            context,
            days,
            segments if segments is not None else context.source.segment_keys,
            bots=configured.bots,
            categories=categories
            if isinstance(categories, CategoryTimeline)
            else CategoryTimeline(categories, min(days, default=date.min)),
            engine=engine,
            spark_remote=configured.spark.remote,
            staging=home / "stag ing",
        )
    )


def collected(chunks: Iterable[CleanedChunk]) -> Cleaned:
    found = list(chunks)
    return Cleaned(
        [partition for chunk in found for partition in chunk.partitions],
        pa.concat_tables([CLEAN_EVENTS.empty(), *(chunk.clean for chunk in found)]),
        pa.concat_tables([REJECTED_EVENTS.empty(), *(chunk.rejected for chunk in found)]),
        sorted((account for chunk in found for account in chunk.file_accounts), key=lambda account: account.path),
    )
