"""Fit the category model on the first landed days of a log."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa

from shift_assets.contracts.sql_text import read_sql
from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.fit import FIT_DAYS, fit_categories
from shift_assets.ingest.cleaning.engines.engine import EngineName
from shift_assets.ingest.cleaning.engines.selection import open_engine
from shift_assets.ingest.readers.source_files import SourceFile, list_source_files
from shift_assets.ingest.rows.parse_context import ParseContext

DEFAULT_CLUSTERS = 40
"""Categories when the source YAML sets no number: as many as a marketer can keep apart and run campaigns for."""


def fit_window(landing: Path, first_day: date) -> list[SourceFile]:
    """Return the files of the first FIT_DAYS landed day folders from `first_day` on (fewer if fewer are landed)."""
    source_files = list_source_files(landing, first_day, date.max)
    days = sorted({file.folder_day for file in source_files})[:FIT_DAYS]
    return [file for file in source_files if file.folder_day in days]


def fit_landed_categories(
    context: ParseContext, first_day: date, *, seed: int, engine: EngineName, spark_remote: str, staging: Path
) -> CategoryModel:
    """Fit the category model that the source configures; the same files and seed give the same model.

    A log that delivers its own categories is not read.

    Args:
        context: The source and its landing folder.
        first_day: First landed day of the fit window.
        seed: Seed of the SVD and of k-means.
        engine: The engine that parses and aggregates the rows.
        spark_remote: Where Spark runs, if it is the engine.
        staging: Folder for temporary files.

    Raises:
        EngineError: The engine cannot run here.
        FileChangedError: A source file changed while it was read.
    """
    kind = context.source.category_origin
    if kind == "delivered":
        return CategoryModel(kind)
    source_files = fit_window(context.landing, first_day)
    if not source_files:
        return CategoryModel(kind, landed_days=0)
    configured = context.source.categories
    names = ("clean/item_texts.sql",) if kind == "text" else ("clean/user_units.sql", "clean/unit_texts.sql")
    tables = _fit_tables(names, context, source_files, engine=engine, spark_remote=spark_remote, staging=staging)
    clusters = configured.clusters if configured else DEFAULT_CLUSTERS
    model = fit_categories(kind, tables[0], clusters, seed, *tables[1:])
    return replace(model, landed_days=len({file.folder_day for file in source_files}))


def _fit_tables(
    names: Sequence[str],
    context: ParseContext,
    source_files: list[SourceFile],
    *,
    engine: EngineName,
    spark_remote: str,
    staging: Path,
) -> list[pa.Table]:
    workspace = staging / f"categories-{uuid.uuid4().hex}"
    workspace.mkdir(parents=True)
    try:
        with open_engine(engine, spark_remote, workspace) as opened:
            opened.parse(context, source_files, workspace / "parsed")
            opened.register("parsed", [workspace / "parsed"])
            return [opened.rows(read_sql(name)) for name in names]
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
