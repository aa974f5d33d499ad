"""The first landed days of a log, from which its categories are learned."""

from __future__ import annotations

import shutil
import uuid
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
from shift_assets.settings.root import Settings

DEFAULT_CLUSTERS = 40
"""Categories where the source does not say: as many as a marketer can hold apart, and campaigns can be made for."""


def fit_window(landing: Path, first_day: date) -> list[SourceFile]:
    """The files of the first FIT_DAYS landed day folders from `first_day`; fewer where fewer are landed."""
    source_files = list_source_files(landing, first_day, date.max)
    days = sorted({file.folder_day for file in source_files})[:FIT_DAYS]
    return [file for file in source_files if file.folder_day in days]


def fit_landed_categories(
    context: ParseContext, first_day: date, settings: Settings, engine: EngineName, staging: Path
) -> CategoryModel:
    """The category model of the landed log, as its source asks; the same files and seed give the same model.

    A log that delivers its categories needs no look at it. Raises EngineError and FileChangedError as `clean` does.
    """
    kind = context.source.category_origin
    if kind == "delivered":
        return CategoryModel(kind)
    source_files = fit_window(context.landing, first_day)
    if not source_files:
        return CategoryModel(kind)
    configured = context.source.categories
    rows = _fit_rows(context, source_files, settings, engine, staging)
    return fit_categories(kind, rows, configured.clusters if configured else DEFAULT_CLUSTERS, settings.seed)


def _fit_rows(
    context: ParseContext, source_files: list[SourceFile], settings: Settings, engine: EngineName, staging: Path
) -> pa.Table:
    sql = read_sql("clean/item_texts.sql" if context.source.category_origin == "text" else "clean/user_units.sql")
    workspace = staging / f"categories-{uuid.uuid4().hex}"
    workspace.mkdir(parents=True)
    try:
        with open_engine(engine, settings, workspace) as opened:
            opened.parse(context, source_files, workspace / "parsed")
            opened.register("parsed", [workspace / "parsed"])
            return opened.rows(sql)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
