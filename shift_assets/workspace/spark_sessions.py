"""Spark for work that one process would do too slowly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shift_assets.ingest.cleaning.engines.selection import resolve_engine
from shift_assets.settings.root import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def spark_session_if_large(settings: Settings, size: int, threshold: int) -> Iterator[SparkSession | None]:
    """A session where Spark is the installation's engine and `size` reaches `threshold`; else None."""
    if size < threshold or resolve_engine(settings.engine, settings.spark.remote) != "spark":
        yield None
        return
    from shift_assets.ingest.cleaning.engines.spark import spark_session

    with spark_session(settings.spark.remote) as session:
        yield session
