"""The rules that need several rows (duplicates, bursts, categories), as relations of an engine."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shift_assets.contracts.cleaning import CLEAN_EVENTS, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.sql_text import read_sql
from shift_assets.ingest.categories.category_timeline import CategoryTimeline
from shift_assets.ingest.cleaning.engines.engine import Engine
from shift_assets.settings.root import BotSettings


class SetLogic:
    """Runs `sql/clean/` on the relation `parsed` of an engine; small inputs are files in the folder `workspace`."""

    def __init__(
        self, engine: Engine, workspace: Path, source: str, bots: BotSettings, categories: CategoryTimeline
    ) -> None:
        self._engine, self._workspace, self._categories = engine, workspace, categories
        self._rules = pa.table(
            {
                "source": [source],
                "category_kind": [categories.model.kind],
                "events_per_minute": [bots.events_per_minute],
                "events_per_day": [bots.events_per_day],
            }
        )

    def apply(self, parsed: Sequence[Path], partitions: Sequence[Partition]) -> tuple[pa.Table, pa.Table]:
        """Clean the parsed rows of some partitions.

        Args:
            parsed: Folders of PARSED rows that may hold rows of the partitions.
            partitions: The partitions to clean.

        Returns:
            Rows of CLEAN_EVENTS and of REJECTED_EVENTS.
        """
        engine = self._engine
        engine.register("parsed", parsed)
        self._register(
            "requested", pa.table({"day": [p.day for p in partitions], "segment": [p.segment for p in partitions]})
        )
        self._register("rules", self._rules)
        self._register("known_categories", self._categories.assignments())
        engine.define_view("accepted", read_sql("clean/accepted.sql"))
        texts = sorted(engine.rows(read_sql("clean/unknown_texts.sql"))["text"].to_pylist())
        text_categories = {
            "text": pa.array(texts, pa.string()),
            "category": pa.array(self._categories.model.predict(texts), pa.string()),
        }
        self._register("text_categories", pa.table(text_categories))
        engine.materialize("duplicates", read_sql("clean/duplicates.sql"))
        engine.materialize("bots", read_sql("clean/bots.sql"))
        engine.define_view("set_rejections", read_sql("clean/set_rejections.sql"))
        return (
            CLEAN_EVENTS.conform(engine.rows(read_sql("clean/clean.sql"))),
            REJECTED_EVENTS.conform(engine.rows(read_sql("clean/rejected.sql"))),
        )

    def _register(self, name: str, rows: pa.Table) -> None:
        """Hand a small table to the engine as a Parquet file, as everything else is."""
        path = self._workspace / f"{name}-{uuid.uuid4().hex}.parquet"
        pq.write_table(rows, path)
        self._engine.register(name, [path])
