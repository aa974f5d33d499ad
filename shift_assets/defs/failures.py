"""Which failures a step tries again: those of the machine, not those of the data or the code.

Dagster's retry policy retries every exception. A wrong row, a closed gate or a missing partition is as wrong five
seconds later, and a superseded attempt must not come back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb
from filelock import Timeout

from shift_assets.ingest.readers.opened_file import FileChangedError

TRANSIENT = (OSError, duckdb.IOException, sqlite3.OperationalError, Timeout, FileChangedError)
"""A full disk, a lock held elsewhere, a connection lost, a file still being written."""
_PERMANENT_OF_THE_SYSTEM = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


@contextmanager
def final_unless_transient() -> Iterator[None]:
    """Turns any failure but a transient one into one that no policy retries, with its own words as description."""
    try:
        yield
    except dg.Failure:
        raise
    except Exception as error:
        transient = isinstance(error, TRANSIENT) and not isinstance(error, _PERMANENT_OF_THE_SYSTEM)
        if transient or _is_lost_spark(error):
            raise
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error


def _is_lost_spark(error: Exception) -> bool:
    """A Spark Connect server that went away; pyspark is not imported to ask."""
    return type(error).__module__.startswith(("pyspark.errors.exceptions.connect", "grpc"))
