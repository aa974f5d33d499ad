"""The first landed days of a log, from which its categories are learned."""

from __future__ import annotations

import shutil
import uuid
from datetime import date
from pathlib import Path

import pyarrow as pa

from shift_assets.ingest.categories import FIT_DAYS, CategoryModel, fit_categories
from shift_assets.ingest.context import ParseContext
from shift_assets.ingest.engines import EngineName, open_engine
from shift_assets.ingest.files import Delivered, delivered_files
from shift_assets.settings import Settings
from shift_assets.sqltext import read_sql

DEFAULT_CLUSTERS = 40
"""Categories where the source does not say: as many as a marketer can hold apart, and campaigns can be made for."""


def fit_window(landing: Path, first_day: date) -> list[Delivered]:
    """The files of the first FIT_DAYS landed day folders from `first_day`; fewer where fewer are landed."""
    files = delivered_files(landing, first_day, date.max)
    days = sorted({file.folder_day for file in files})[:FIT_DAYS]
    return [file for file in files if file.folder_day in days]


def fit_landed_categories(
    context: ParseContext, first_day: date, settings: Settings, engine: EngineName, staging: Path
) -> CategoryModel:
    """The category model of the landed log, as its source asks; the same files and seed give the same model.

    A log that delivers its categories needs no look at it. Raises EngineError and FileChangedError as `clean` does.
    """
    kind = context.source.category_origin
    if kind == "delivered":
        return CategoryModel(kind)
    files = fit_window(context.landing, first_day)
    if not files:
        return CategoryModel(kind)
    asked = context.source.categories
    rows = _rows(context, files, settings, engine, staging)
    return fit_categories(kind, rows, asked.clusters if asked else DEFAULT_CLUSTERS, settings.seed)


def _rows(
    context: ParseContext, files: list[Delivered], settings: Settings, engine: EngineName, staging: Path
) -> pa.Table:
    sql = read_sql("clean/item_texts.sql" if context.source.category_origin == "text" else "clean/user_units.sql")
    workspace = staging / f"categories-{uuid.uuid4().hex}"
    workspace.mkdir(parents=True)
    try:
        with open_engine(engine, settings, workspace) as opened:
            opened.parse(context, files, workspace / "parsed")
            opened.open("parsed", [workspace / "parsed"])
            return opened.rows(sql)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
