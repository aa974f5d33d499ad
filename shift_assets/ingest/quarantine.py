"""The quarantine: what was rejected, and what of it the present source would accept."""

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
"""Reasons that other rows gave: no change of the source's YAML takes them away."""


class Lake(Protocol):
    """Where rejected rows are read from."""

    def read(
        self,
        table: Table,
        *,
        first_day: date | None = None,
        last_day: date | None = None,
        segments: Collection[str] | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table: ...


class Installation(Protocol):
    """The lake, and what the parser knows at present."""

    @property
    def lake(self) -> Lake: ...

    @property
    def parse_context(self) -> ParseContext: ...


def rejected_rows(
    lake: Lake,
    *,
    reason: str | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
    source_file: str | None = None,
) -> pa.Table:
    """Rows of REJECTED_EVENTS in the closed range of days, of one reason and one delivered file where named."""
    rows = lake.read(REJECTED_EVENTS, first_day=first_day, last_day=last_day)
    for name, wanted in (("reason", reason), ("source_file", source_file)):
        if wanted is not None:
            rows = rows.filter(pc.equal(rows[name], wanted))
    return rows


def replay(installation: Installation, first_day: date, last_day: date) -> dict[Partition, int]:
    """The partitions to run again so that rows rejected on the days `first_day` to `last_day` are taken in.

    Each with the rows that it would gain; one that only loses rejected rows to another has 0. The delivered files
    are parsed again under the present source; a row of a file that is no longer landed cannot be taken in.
    """
    rows = rejected_rows(installation.lake, first_day=first_day, last_day=last_day)
    rows = rows.filter(pc.invert(pc.is_in(rows["reason"], pa.array(SET_REASONS))))
    context = installation.parse_context
    landed = {file.path: file for file in list_source_files(context.landing, date.min, date.max)}
    gains: Counter[Partition] = Counter()
    for path in sorted(set(rows["source_file"].to_pylist()) & set(landed)):
        gains.update(_accepted_rows(context, landed[path], rows.filter(pc.equal(rows["source_file"], path))))
    return dict(sorted(gains.items()))


def _accepted_rows(context: ParseContext, file: SourceFile, rejected: pa.Table) -> dict[Partition, int]:
    """Rows of `rejected`, all of `file`, that are accepted now, by the partition they belong to."""
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
        wanted = accepted if whole_file else accepted.filter(pa.array(np.isin(numbers, list(partition_of_row))))
        for number, day, segment in zip(
            *(wanted.column(name).to_pylist() for name in ("source_row", "day", "segment")), strict=True
        ):
            partition = Partition(day, segment)
            gains[partition] = gains.get(partition, 0) + 1
            gains.setdefault(partition_of_row[0 if whole_file else number], 0)
    return gains
