"""Delivered rows on their way from a reader (JSON lines, CSV, Parquet) to the row logic, before any typing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

RAW_CAP_BYTES = 64 * 1024
"""Bytes that are kept of a raw row."""


class Kind(IntEnum):
    """What a delivered value was before it became text."""

    NULL = 0
    TEXT = 1
    NUMBER = 2
    BOOLEAN = 3
    CONTAINER = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is rejected before its values are looked at."""

    reason: str
    detail: str


@dataclass(slots=True)
class RowBatch:
    """Some rows of one file, in order.

    `numbers[row]`: line (or Parquet row) from 1 where the row begins. `raw`: its delivered bytes.
    `columns`: each wanted delivered column, as text, or as typed in Parquet; of no meaning in faulty rows.
    `kinds[column][row]`: a Kind per value, where the format knows more than text. `faults`: by index in here.
    `digests`: SHA-256 of rows whose `raw` is already cut, by index; `spans`: their offset and length in the file.
    """

    numbers: NDArray[np.int64]
    raw: pa.Array
    columns: dict[str, pa.Array]
    kinds: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)
