"""Nightly housekeeping: state snapshots past their retention, files that no table version names, finished staging."""

import shutil
import time
from datetime import timedelta

import dagster as dg

from shift_assets.contracts import INTEREST_STATE, TABLES, Partition
from shift_assets.resources.platform import Platform

VACUUM_AFTER_HOURS = 7 * 24
"""Readers that opened a table version keep its files for a week."""
STAGING_AFTER_SECONDS = 24 * 3600
"""No run lasts a day (`max_runtime_seconds` in dagster.yaml is four hours)."""


def expired_state(standing: list[Partition], keep_days: int) -> list[Partition]:
    """State snapshots older than `keep_days` before the newest of their segment."""
    newest = {
        segment: max(p.day for p in standing if p.segment == segment) for segment in {p.segment for p in standing}
    }
    return sorted(p for p in standing if p.day < newest[p.segment] - timedelta(days=keep_days))


def housekeeping_job(platform: Platform) -> dg.JobDefinition:
    """The job, as two ops: retention, then vacuum."""

    @dg.op(description="Drops state snapshots past their retention")
    def drop_expired_state(context: dg.OpExecutionContext) -> int:
        standing = list(platform.lake.published(INTEREST_STATE))
        expired = expired_state(standing, platform.settings.state.keep_days)
        dropped = platform.lake.drop(INTEREST_STATE, expired, context.run_id) if expired else 0
        context.log.info(f"dropped {dropped} snapshots of {INTEREST_STATE.name}")
        return dropped

    @dg.op(
        description="Deletes unreferenced files, compacts table logs, clears finished staging",
        ins={"start": dg.In(dg.Nothing)},
    )
    def vacuum(context: dg.OpExecutionContext) -> None:
        for table in TABLES.values():
            gone = platform.lake.vacuum(table, VACUUM_AFTER_HOURS)
            if gone:
                context.log.info(f"{table.name}: deleted {len(gone)} files")
        staging = platform.settings.staging
        for entry in list(staging.iterdir()) if staging.exists() else []:
            if time.time() - entry.stat().st_mtime > STAGING_AFTER_SECONDS:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                context.log.info(f"deleted staging {entry.name}")

    @dg.job(name="housekeeping", description="Retention, vacuum and clearing of staging")
    def housekeeping() -> None:
        vacuum(start=drop_expired_state())

    return housekeeping
