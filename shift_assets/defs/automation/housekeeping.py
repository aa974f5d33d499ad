"""Nightly housekeeping: state snapshots past their retention, files that no table version names, finished staging."""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

import dagster as dg
from dagster import DagsterRunStatus

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.defs.dagster_private import PARTITION_NAME_TAG, RANGE_START_TAG, has_unfinished_backfill
from shift_assets.defs.partitions import parse_key
from shift_assets.workspace.workspace import Workspace

VACUUM_AFTER_HOURS = 7 * 24
"""Readers that opened a table version keep its files for a week."""
STAGING_AFTER_SECONDS = 24 * 3600
"""No run lasts a day (`max_runtime_seconds` in dagster.yaml is four hours)."""


_UNFINISHED_RUN = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def expired_state(existing: list[Partition], keep_days: int, still_read: date = date.max) -> list[Partition]:
    """State snapshots older than `keep_days` before the newest of their segment, or before `still_read` if earlier.

    still_read: the first day that a range in progress reads.
    """
    newest = {
        segment: max(p.day for p in existing if p.segment == segment) for segment in {p.segment for p in existing}
    }
    return sorted(p for p in existing if p.day < min(newest[p.segment], still_read) - timedelta(days=keep_days))


def drop_expired_snapshots(
    workspace: Workspace, instance: dg.DagsterInstance, holder: str, still_read: date = date.max
) -> int:
    """Drop the expired snapshots that no range in progress reads; return how many.

    None while a backfill is in progress: its later runs, which read what its earlier ones made, are not known yet.
    """
    if has_unfinished_backfill(instance):
        return 0
    unfinished = instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED_RUN))
    first = min([still_read, *_first_days(run.tags for run in unfinished)])
    expired = expired_state(list(workspace.lake.published(INTEREST_STATE)), workspace.settings.state.keep_days, first)
    return workspace.lake.drop(INTEREST_STATE, expired, holder) if expired else 0


def _first_days(tags_of_runs: Iterable[Mapping[str, str]]) -> Iterator[date]:
    """The first day of each run over days and segments; other runs read no state."""
    for tags in tags_of_runs:
        key = tags.get(RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG)
        if key and "|" in key:
            yield parse_key(key).day


def housekeeping_job(workspace: Workspace) -> dg.JobDefinition:
    """The job, as two ops: retention, then vacuum."""

    @dg.op(description="Drops state snapshots past their retention")
    def drop_expired_state(context: dg.OpExecutionContext) -> int:
        dropped = drop_expired_snapshots(workspace, context.instance, context.run_id)
        context.log.info(f"dropped {dropped} snapshots of {INTEREST_STATE.name}")
        return dropped

    @dg.op(
        description="Deletes unreferenced files, compacts table logs, clears finished staging",
        ins={"start": dg.In(dg.Nothing)},
    )
    def vacuum(context: dg.OpExecutionContext) -> None:
        for table in TABLES.values():
            deleted = workspace.lake.vacuum(table, VACUUM_AFTER_HOURS)
            if deleted:
                context.log.info(f"{table.name}: deleted {len(deleted)} files")
        staging = workspace.settings.staging
        for entry in list(staging.iterdir()) if staging.exists() else []:
            if time.time() - entry.stat().st_mtime > STAGING_AFTER_SECONDS:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                context.log.info(f"deleted staging {entry.name}")

    @dg.job(name="housekeeping", description="Retention, vacuum and clearing of staging")
    def housekeeping() -> None:
        vacuum(start=drop_expired_state())

    return housekeeping
