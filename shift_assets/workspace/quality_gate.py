"""The data-quality gate of an installation: validates partitions, stores the results, and reads only what passed.

What a table's expectations are and when the gate is closed lies in `quality`; here they meet the lake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.table import Table
from shift_assets.quality.facts import CleaningFacts
from shift_assets.quality.gate import require_passed
from shift_assets.storage.fence import FencedOut
from shift_assets.storage.lake import Lake

GATED_TABLES = (CLEAN_EVENTS,)
"""Tables whose rows are read only where the very content that is read passed its checks."""
_WEEKS_BEFORE = 28
_LOOK_BACK_DAYS = 90


class GatedReader:
    """Reads tables of a lake; a partition of a gated table is read only if its present content passed its checks."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._passed: set[tuple[str, Partition, str]] = set()
        """Table, partition and digest that passed: the result for a digest never changes, so it is read once."""

    def read(
        self,
        table: Table,
        first_day: date,
        last_day: date,
        segments: Collection[str],
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Return the rows of the closed range of days.

        Raises:
            GateClosed: a partition of a gated table was not checked, changed after its check, or failed it.
        """
        if table in GATED_TABLES:
            self._require_passed(table, first_day, last_day, segments)
        return self._lake.read(table, first_day=first_day, last_day=last_day, segments=segments, columns=columns)

    def read_window(
        self, table: Table, days: Iterable[date], segments: Collection[str], look_back_days: int
    ) -> pa.Table:
        """Return the rows of all windows of `look_back_days` days that end on one of `days`, each row once.

        Raises:
            GateClosed: as `read`.
        """
        requested_days = sorted(days)
        return self.read(table, requested_days[0] - timedelta(days=look_back_days - 1), requested_days[-1], segments)

    def read_day(self, table: Table, day: date, segment: str) -> pa.Table:
        """Return the rows of one partition; none where it was never made.

        Raises:
            GateClosed: as `read`.
        """
        return self.read(table, day, day, [segment])

    def read_windows(
        self, table: Table, partitions: Collection[Partition], look_back_days: int, *, ending_days_before: int = 0
    ) -> dict[str, pa.Table]:
        """Return by segment the rows of all windows that end on a day of `partitions`, or some days before it.

        Raises:
            GateClosed: as `read`.
        """
        days = [day - timedelta(days=ending_days_before) for day in days_of(partitions)]
        return {
            segment: self.read_window(table, days, [segment], look_back_days) for segment in segments_of(partitions)
        }

    def _require_passed(self, table: Table, first_day: date, last_day: date, segments: Collection[str]) -> None:
        digests = {
            partition: published.digest
            for partition, published in self._lake.published(table).items()
            if first_day <= partition.day <= last_day
            and partition.segment in segments
            and (table.name, partition, published.digest) not in self._passed
        }
        if digests:
            days = days_of(digests)
            check_results = self._lake.read(QUALITY_VERDICTS, first_day=days[0], last_day=days[-1], segments=segments)
            require_passed(check_results, table, digests)
            self._passed.update((table.name, partition, digest) for partition, digest in digests.items())


def validate_and_store(lake: Lake, table: Table, partitions: list[Partition], holder: str, timezone: str) -> pa.Table:
    """Check the current content of `partitions` of `table` and store the results.

    Args:
        lake: where the partitions are, and where the results go.
        table: a table that has expectations.
        partitions: what is checked.
        holder: who stores the results, for the fence.
        timezone: the shop's zone, in which days begin.

    Returns:
        The results, rows of QUALITY_VERDICTS.

    Raises:
        MissingPartition: a partition was never materialised.
    """
    from shift_assets.quality.validation import validate_partitions

    current = lake.require(table, partitions)
    days = days_of(partitions)
    files = lake.files(table, first_day=days[0], last_day=days[-1], segments=segments_of(partitions))
    check_results = validate_partitions(
        table,
        {partition: files[partition] for partition in partitions},
        partitions,
        {partition: found.digest for partition, found in current.items()},
        timezone=timezone,
        facts=_cleaning_facts(lake, partitions) if table is CLEAN_EVENTS else None,
    )
    _store(lake, table, partitions, check_results, holder)
    return check_results


@retry(
    retry=retry_if_exception_type(FencedOut),
    stop=stop_after_attempt(8),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    reraise=True,
)
def _store(lake: Lake, table: Table, partitions: list[Partition], check_results: pa.Table, holder: str) -> None:
    """Replace the results of `table`, and keep those that other steps stored for the same partitions."""
    claim = lake.claim(QUALITY_VERDICTS, partitions, holder)
    days = days_of(partitions)
    stored = lake.read(QUALITY_VERDICTS, first_day=days[0], last_day=days[-1], segments=segments_of(partitions))
    others = stored.filter(pc.not_equal(stored["table_name"], table.name))
    wanted = set(partitions)
    keep = [Partition(row["day"], row["segment"]) in wanted for row in others.select(["day", "segment"]).to_pylist()]
    rows = pa.concat_tables([others.filter(pa.array(keep, pa.bool_())), check_results])
    lake.publish(QUALITY_VERDICTS, rows, claim)


def _cleaning_facts(lake: Lake, partitions: list[Partition]) -> CleaningFacts:
    """What the expectations of clean events compare with: deliveries, rejections, and the weeks before."""
    days, segments = days_of(partitions), segments_of(partitions)
    delivered: Counter[Partition] = Counter()
    for row in lake.read(DELIVERIES, first_day=days[0], last_day=days[-1], segments=segments).to_pylist():
        delivered[Partition(row["day"], row["segment"])] += row["rows"]
    rejected = lake.require(REJECTED_EVENTS, partitions)
    clean = lake.published(CLEAN_EVENTS)
    look_back_start = days[0] - timedelta(days=_LOOK_BACK_DAYS)
    users = lake.read(
        CLEAN_EVENTS,
        first_day=look_back_start,
        last_day=days[0] - timedelta(days=1),
        columns=["day", "segment", "user_id"],
    )
    return CleaningFacts(
        delivered=delivered,
        rejected={partition: found.rows for partition, found in rejected.items()},
        rows_before={
            partition: found.rows
            for partition, found in clean.items()
            if days[0] - timedelta(weeks=_WEEKS_BEFORE) <= partition.day < days[0]
        },
        users_before=users.group_by(["day", "segment", "user_id"]).aggregate([]),
        look_back_days=_LOOK_BACK_DAYS,
    )
