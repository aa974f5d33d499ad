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

from shift_assets.errors import TransientError

_TRANSIENT_OF_THE_SYSTEM = (OSError, duckdb.IOException, sqlite3.OperationalError, Timeout)
"""A full disk, a lock held elsewhere, a lost connection."""
_PERMANENT_OF_THE_SYSTEM = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


@contextmanager
def final_unless_transient() -> Iterator[None]:
    """Turn any failure but a transient one into one that no policy retries, with its own words as description.

    A `TransientError` is retried, a `UserError` or `PermanentError` is not. Of foreign errors, those of disk, locks
    and connections are retried; all others are defects.

    Raises:
        dagster.Failure: the step failed for good.
    """
    try:
        yield
    except dg.Failure:
        raise
    except Exception as error:
        if _is_transient(error):
            raise
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error


def _is_transient(error: Exception) -> bool:
    if isinstance(error, TransientError) or _is_lost_spark(error):
        return True
    return isinstance(error, _TRANSIENT_OF_THE_SYSTEM) and not isinstance(error, _PERMANENT_OF_THE_SYSTEM)


def _is_lost_spark(error: Exception) -> bool:
    """Whether a Spark Connect server went away; pyspark is not imported to ask."""
    return type(error).__module__.startswith(("pyspark.errors.exceptions.connect", "grpc"))
