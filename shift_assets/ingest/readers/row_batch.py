"""Raw rows as a reader (JSON lines, CSV, Parquet) hands them to the row rules, before any typing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import pyarrow as pa

from shift_assets.arrays import Int64Array, UInt8Array

RAW_CAP_BYTES = 64 * 1024
"""Bytes of a raw row that are stored."""


class Kind(IntEnum):
    """What a raw value was before it became text."""

    NULL = 0
    TEXT = 1
    NUMBER = 2
    BOOLEAN = 3
    CONTAINER = 4


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row or a value is rejected: a reason of the contract, and details for a person."""

    reason: str
    detail: str


@dataclass(slots=True)
class RowBatch:
    """Some rows of one file, in order.

    Attributes:
        numbers: Line (or Parquet row), from 1, at which each row begins.
        raw: The bytes of each row as they are in the file.
        columns: Each requested raw column, as text or, from Parquet, as typed there; undefined in rejected rows.
        kinds: A Kind per value of a column, where the format distinguishes more than text.
        rejections: Rows that cannot be read, by index in this batch.
        digests: SHA-256 of rows whose `raw` is already truncated, by index.
        spans: Offset and length in the file of the rows in `digests`, by index.
    """

    numbers: Int64Array
    raw: pa.Array
    columns: dict[str, pa.Array]
    kinds: dict[str, UInt8Array] = field(default_factory=dict)
    rejections: dict[int, Rejection] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)
