"""Which rows of a batch are rejected, and why: the first reason found stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAXIMUM_SHOWN = 80
"""Characters of a delivered value that a detail repeats; the whole value stands in `raw`."""


class Rejections:
    """Reason and detail of each row; none while it is accepted."""

    def __init__(self, count: int) -> None:
        self.rejected: NDArray[np.bool_] = np.zeros(count, dtype=bool)
        self._why: dict[int, tuple[str, str]] = {}

    def reject(self, rows: NDArray[np.bool_], reason: str, detail: str | Callable[[int], str]) -> None:
        """Reject those of `rows` that still are accepted; `detail` may be made per row index."""
        newly_rejected = rows & ~self.rejected
        if not newly_rejected.any():
            return
        self.rejected |= newly_rejected
        for row in np.flatnonzero(newly_rejected).tolist():
            self._why[row] = (reason, detail if isinstance(detail, str) else detail(row))

    def reject_row(self, row: int, reason: str, detail: str) -> None:
        if not self.rejected[row]:
            self.rejected[row] = True
            self._why[row] = (reason, detail)

    def override(self, rows: NDArray[np.bool_], reason: str, detail: str) -> None:
        """Reject `rows` for this reason whatever was found before."""
        self.rejected |= rows
        for row in np.flatnonzero(rows).tolist():
            self._why[row] = (reason, detail)

    def columns(self) -> tuple[pa.Array, pa.Array]:
        """`reason` and `detail`, null where accepted."""
        count = len(self.rejected)
        if not self._why:
            return pa.nulls(count, pa.string()), pa.nulls(count, pa.string())
        reasons: list[str | None] = [None] * count
        details: list[str | None] = [None] * count
        for row, (reason, detail) in self._why.items():
            reasons[row], details[row] = reason, detail
        return pa.array(reasons, pa.string()), pa.array(details, pa.string())


def excerpt(value: object) -> str:
    """A delivered value for a detail: quoted, escaped, cut."""
    text = str(value)
    return repr(text if len(text) <= MAXIMUM_SHOWN else text[:MAXIMUM_SHOWN] + "…")
