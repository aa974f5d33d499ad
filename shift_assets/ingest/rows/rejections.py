"""Collect which rows of a batch are rejected, and why: the first reason found is the one reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shift_assets.arrays import BoolArray
from shift_assets.ingest.readers.row_batch import Rejection

MAXIMUM_SHOWN = 80
"""Characters of a raw value that a detail repeats; the whole value is in `raw`."""


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """The rows that one check rejects; where `values` is given, each row's value is added to the detail."""

    rows: BoolArray
    rejection: Rejection
    values: pa.Array | None = None

    def of_row(self, row: int) -> Rejection:
        """Return the rejection of one row."""
        if self.values is None:
            return self.rejection
        return Rejection(self.rejection.reason, f"{self.rejection.detail}: {excerpt(self.values[row].as_py())}")


class Rejections:
    """The rejection of each row of a batch; none while the row is accepted."""

    def __init__(self, count: int) -> None:
        self.rejected: BoolArray = np.zeros(count, dtype=bool)
        self._by_row: dict[int, Rejection] = {}

    def reject(self, rows: BoolArray, rejection: Rejection | Callable[[int], Rejection]) -> None:
        """Reject those of `rows` that are still accepted; the rejection may be made per row index."""
        newly_rejected = rows & ~self.rejected
        if not newly_rejected.any():
            return
        self.rejected |= newly_rejected
        for row in np.flatnonzero(newly_rejected).tolist():
            self._by_row[row] = rejection if isinstance(rejection, Rejection) else rejection(row)

    def reject_row(self, row: int, rejection: Rejection) -> None:
        """Reject one row unless it is rejected already."""
        if not self.rejected[row]:
            self.rejected[row] = True
            self._by_row[row] = rejection

    def reject_all(self, checks: tuple[RejectedRows, ...]) -> None:
        """Reject the rows of each check, in order."""
        for check in checks:
            self.reject(check.rows, check.of_row)

    def override(self, rows: BoolArray, rejection: Rejection) -> None:
        """Reject `rows` for this reason, whatever was found before."""
        self.rejected |= rows
        for row in np.flatnonzero(rows).tolist():
            self._by_row[row] = rejection

    def columns(self) -> tuple[pa.Array, pa.Array]:
        """Return `reason` and `detail` of each row, null where accepted."""
        count = len(self.rejected)
        if not self._by_row:
            return pa.nulls(count, pa.string()), pa.nulls(count, pa.string())
        reasons: list[str | None] = [None] * count
        details: list[str | None] = [None] * count
        for row, rejection in self._by_row.items():
            reasons[row], details[row] = rejection.reason, rejection.detail
        return pa.array(reasons, pa.string()), pa.array(details, pa.string())


def excerpt(value: object) -> str:
    """Return a raw value for a detail: quoted, escaped and truncated.

    >>> excerpt("a\\tb")
    "'a\\\\tb'"
    """
    text = str(value)
    return repr(text if len(text) <= MAXIMUM_SHOWN else text[:MAXIMUM_SHOWN] + "…")
