"""Judging partitions that stand in the lake, and keeping the verdict with them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.table import Table
from shift_assets.quality.facts import CleaningFacts
from shift_assets.quality.validation import validate_partitions
from shift_assets.storage.fence import FencedOut
from shift_assets.workspace.workspace import Workspace, days_of, segments_of

_WEEKS_BEFORE = 28
_LOOK_BACK_DAYS = 90


def validate_and_store(workspace: Workspace, table: Table, partitions: list[Partition], holder: str) -> pa.Table:
    """Judges `partitions` of `table` as they stand in the lake; returns the verdicts, which are stored by then.

    Raises MissingPartition when one of them was never materialised.
    """
    current = workspace.lake.require(table, partitions)
    days = days_of(partitions)
    files = workspace.lake.files(table, first_day=days[0], last_day=days[-1], segments=segments_of(partitions))
    check_results = validate_partitions(
        table,
        {partition: files[partition] for partition in partitions},
        partitions,
        {partition: found.digest for partition, found in current.items()},
        timezone=workspace.source.timezone,
        facts=_cleaning_facts(workspace, partitions) if table is CLEAN_EVENTS else None,
    )
    _store(workspace, table, partitions, check_results, holder)
    return check_results


@retry(
    retry=retry_if_exception_type(FencedOut),
    stop=stop_after_attempt(8),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    reraise=True,
)
def _store(
    workspace: Workspace, table: Table, partitions: list[Partition], check_results: pa.Table, holder: str
) -> None:
    """Replaces the verdicts on `table`, and keeps those that other steps stored for the same partitions."""
    claim = workspace.lake.claim(QUALITY_VERDICTS, partitions, holder)
    days = days_of(partitions)
    stored = workspace.lake.read(
        QUALITY_VERDICTS, first_day=days[0], last_day=days[-1], segments=segments_of(partitions)
    )
    others = stored.filter(pc.not_equal(stored["table_name"], table.name))
    wanted = set(partitions)
    keep = [Partition(row["day"], row["segment"]) in wanted for row in others.select(["day", "segment"]).to_pylist()]
    workspace.lake.publish(
        QUALITY_VERDICTS, pa.concat_tables([others.filter(pa.array(keep, pa.bool_())), check_results]), claim
    )


def _cleaning_facts(workspace: Workspace, partitions: list[Partition]) -> CleaningFacts:
    days, segments = days_of(partitions), segments_of(partitions)
    lake = workspace.lake
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
