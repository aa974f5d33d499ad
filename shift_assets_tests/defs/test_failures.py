"""Laws of retries: a step tries again what another try may cure, and nothing else."""

from __future__ import annotations

import sqlite3

import dagster as dg
import duckdb
import pytest
from filelock import Timeout

from shift_assets.contracts.table import ContractError
from shift_assets.defs.failures import final_unless_transient
from shift_assets.errors import ShiftError, TransientError, UserError
from shift_assets.ingest.readers.opened_file import FileChangedError
from shift_assets.quality.gate import GateClosed
from shift_assets.storage.fence import FencedOut
from shift_assets.storage.lake import MissingPartition


@pytest.mark.parametrize(
    "error",
    [
        TransientError("a lock"),
        FileChangedError("part.csv is still being written"),
        ConnectionResetError("lost"),
        OSError(28, "no space left on device"),
        duckdb.IOException("could not set lock"),
        sqlite3.OperationalError("database is locked"),
        Timeout("warehouse.lock"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_transient_failure_stays_as_it_is_so_that_the_policy_retries_it(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, final_unless_transient():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "error",
    [
        UserError("the source names no column"),
        MissingPartition("interest_state 2026-03-01|uk"),
        FencedOut("superseded"),
        GateClosed("failed"),
        ContractError("nulls where none may be"),
        FileNotFoundError("gone"),
        ValueError("a defect"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_failure_is_final_and_keeps_its_words(error: Exception) -> None:
    with pytest.raises(dg.Failure) as raised, final_unless_transient():
        raise error
    assert raised.value.allow_retries is False
    assert raised.value.description == f"{type(error).__name__}: {error}"


def test_errors_of_lake_and_gate_are_raised_on_purpose() -> None:
    """Commands print them as one message; they are no defects."""
    assert all(issubclass(each, ShiftError) for each in (MissingPartition, FencedOut, GateClosed, FileChangedError))
