"""Rejected rows: look them up, and find those that the current source YAML would accept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import date
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.cleaning import REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table
from shift_assets.ingest.readers.source_files import SourceFile, list_source_files
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parser import parse_file

SET_REASONS = ("duplicate", "bot_burst")
"""Reasons that depend on other rows: no change of the source YAML removes them."""


class Lake(Protocol):
    """The part of the lake that rejected rows are read from."""

    def read(
        self,
        table: Table,
        *,
        first_day: date | None = None,
        last_day: date | None = None,
        segments: Collection[str] | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table: ...


def rejected_rows(
    lake: Lake,
    *,
    reason: str | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
    source_file: str | None = None,
) -> pa.Table:
    """Return the rejected rows of a range of days.

    Args:
        lake: The lake to read.
        reason: Keep only rows rejected for this reason.
        first_day: First day of the range; open-ended when None.
        last_day: Last day of the range, inclusive; open-ended when None.
        source_file: Keep only rows of this source file (path relative to the landing folder).

    Returns:
        Rows of REJECTED_EVENTS.
    """
    rows = lake.read(REJECTED_EVENTS, first_day=first_day, last_day=last_day)
    for name, value in (("reason", reason), ("source_file", source_file)):
        if value is not None:
            rows = rows.filter(pc.equal(rows[name], value))
    return rows


def replay(lake: Lake, context: ParseContext, first_day: date, last_day: date) -> dict[Partition, int]:
    """Return the partitions to run again so that rows rejected in a range of days are accepted.

    The source files are parsed again with the current source YAML. A row whose file is no longer in the landing
    folder cannot be recovered. Nothing is written.

    Args:
        lake: The lake to read rejected rows from.
        context: The current source, as the parser sees it.
        first_day: First day of the range.
        last_day: Last day of the range, inclusive.

    Returns:
        The rows that each partition would gain, in order of partition; 0 for a partition that only loses rejected
        rows to another one.
    """
    rows = rejected_rows(lake, first_day=first_day, last_day=last_day)
    rows = rows.filter(pc.invert(pc.is_in(rows["reason"], pa.array(SET_REASONS))))
    landed = {file.path: file for file in list_source_files(context.landing, date.min, date.max)}
    gains: Counter[Partition] = Counter()
    for path in sorted(set(rows["source_file"].to_pylist()) & set(landed)):
        gains.update(_accepted_rows(context, landed[path], rows.filter(pc.equal(rows["source_file"], path))))
    return dict(sorted(gains.items()))


def _accepted_rows(context: ParseContext, file: SourceFile, rejected: pa.Table) -> dict[Partition, int]:
    """Count the rows of `rejected`, all of `file`, that are accepted now, by the partition they belong to."""
    partition_of_row = {
        number: Partition(day, segment)
        for number, day, segment in zip(
            *(rejected[name].to_pylist() for name in ("source_row", "day", "segment")), strict=True
        )
    }
    whole_file = 0 in partition_of_row
    gains: dict[Partition, int] = {}
    for batch in parse_file(context, file):
        accepted = batch.filter(pc.is_null(batch.column("reason")))
        numbers = np.asarray(accepted.column("source_row"))
        recovered = accepted if whole_file else accepted.filter(pa.array(np.isin(numbers, list(partition_of_row))))
        for number, day, segment in zip(
            *(recovered.column(name).to_pylist() for name in ("source_row", "day", "segment")), strict=True
        ):
            partition = Partition(day, segment)
            gains[partition] = gains.get(partition, 0) + 1
            gains.setdefault(partition_of_row[0 if whole_file else number], 0)
    return gains
