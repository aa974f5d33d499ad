"""Laws of housekeeping: what it drops, what it leaves to readers, when it runs."""

from __future__ import annotations

import os
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.definitions import build_definitions
from shift_assets.defs.automation.housekeeping import (
    STAGING_AFTER_SECONDS,
    VACUUM_AFTER_HOURS,
    drop_expired_snapshots,
    expired_state,
)
from shift_assets.defs.automation.jobs import all_jobs
from shift_assets.defs.automation.schedules import all_schedules
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.lakes import rows_of
from shift_assets_tests.workspaces import FIRST_DAY, new_workspace

pytestmark = pytest.mark.slow

SEGMENTS = ("shard-0", "shard-1")
partitions = st.builds(Partition, st.dates(date(2026, 1, 1), date(2026, 6, 1)), st.sampled_from([*SEGMENTS, "shard-2"]))


@given(st.lists(partitions, unique=True), st.integers(2, 60))
def test_what_expires_is_older_than_the_retention_before_its_segments_newest(
    existing: list[Partition], keep_days: int
) -> None:
    """Each segment keeps its newest snapshot and those of the days before it, and nothing else."""
    expired = set(expired_state(existing, keep_days))
    for partition in existing:
        newest = max(p.day for p in existing if p.segment == partition.segment)
        assert (partition in expired) == ((newest - partition.day).days > keep_days)


def test_an_empty_table_expires_nothing() -> None:
    """A fresh installation has nothing to drop."""
    assert expired_state([], 35) == []


def publish(workspace: Workspace, days: range, seed: int = 0) -> None:
    for table in (INTEREST_STATE, INTEREST_SERIES):
        for number in days:
            partition = Partition(FIRST_DAY + timedelta(days=number), SEGMENTS[0])
            claim = workspace.lake.claim(table, [partition], "test")
            workspace.lake.publish(table, rows_of(table, partition, 4, seed=seed), claim)


def files(workspace: Workspace) -> set[Path]:
    return set(Path(workspace.settings.lake_root).rglob("*.parquet"))


def run(workspace: Workspace) -> None:
    job = all_jobs(workspace)["housekeeping"]
    assert isinstance(job, dg.JobDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success


def test_the_job_drops_old_state_and_leaves_every_other_table(tmp_path: Path) -> None:
    """Snapshots past their retention leave the table, the series of the same days stay; again changes nothing."""
    new_workspace(tmp_path)
    keep = 7
    with (tmp_path / "settings.yaml").open("a") as settings:
        settings.write(f"state: {{keep_days: {keep}}}\n")
    workspace = open_workspace(tmp_path)
    publish(workspace, range(keep + 3))
    run(workspace)
    retained = {partition.day for partition in workspace.lake.published(INTEREST_STATE)}
    assert retained == {FIRST_DAY + timedelta(days=number) for number in range(2, keep + 3)}
    assert len(workspace.lake.published(INTEREST_SERIES)) == keep + 3
    before = files(workspace)
    run(workspace)
    assert files(workspace) == before


@pytest.mark.parametrize(
    ("status", "key", "oldest"),
    [
        (dg.DagsterRunStatus.STARTED, "2026-03-05|shard-0", 0),
        (dg.DagsterRunStatus.NOT_STARTED, "2026-03-10|shard-1", 2),
        (dg.DagsterRunStatus.SUCCESS, "2026-03-05|shard-0", 13),
        (dg.DagsterRunStatus.STARTED, "2026-03-01", 13),
    ],
)
def test_what_a_run_in_progress_reads_is_not_dropped(
    tmp_path: Path, status: dg.DagsterRunStatus, key: str, oldest: int
) -> None:
    """The retention counts from the first day of an unfinished range of days and segments, where one is under way."""
    new_workspace(tmp_path)
    with (tmp_path / "settings.yaml").open("a") as settings:
        settings.write("state: {keep_days: 7}\n")
    workspace = open_workspace(tmp_path)
    publish(workspace, range(21))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_run(dg.DagsterRun("daily", status=status, tags={"dagster/asset_partition_range_start": key}))
        drop_expired_snapshots(workspace, instance, "test")
    retained = {partition.day for partition in workspace.lake.published(INTEREST_STATE)}
    assert min(retained) == FIRST_DAY + timedelta(days=oldest)


def test_a_reader_of_the_last_week_keeps_its_files(tmp_path: Path) -> None:
    """Files of a table version that was replaced today are there after housekeeping: somebody may still read them."""
    workspace = new_workspace(tmp_path)
    publish(workspace, range(2))
    opened = list(workspace.lake.files(INTEREST_SERIES).values())
    publish(workspace, range(2), seed=1)
    run(workspace)
    assert all(path.exists() for path in opened)
    assert set(workspace.lake.files(INTEREST_SERIES).values()).isdisjoint(opened)


def test_what_no_version_named_for_a_week_is_deleted(tmp_path: Path) -> None:
    """A file that an interrupted publish left behind goes once it is older than a week; a fresh one stays."""
    workspace = new_workspace(tmp_path)
    publish(workspace, range(2))
    folder = next(iter(workspace.lake.files(INTEREST_SERIES).values())).parent
    old, fresh = folder / "left-behind-1.parquet", folder / "left-behind-2.parquet"
    for path in (old, fresh):
        path.write_bytes(b"unfinished")
    long_ago = time.time() - (VACUUM_AFTER_HOURS + 1) * 3600
    os.utime(old, (long_ago, long_ago))
    run(workspace)
    assert (old.exists(), fresh.exists()) == (False, True)
    assert workspace.lake.read(INTEREST_SERIES).num_rows > 0


def test_staging_of_runs_that_are_over_is_cleared(tmp_path: Path) -> None:
    """A folder that a killed run left a day ago goes; one that a run may be using stays; a stray file is no error."""
    workspace = new_workspace(tmp_path)
    staging = workspace.settings.staging
    for name in ("old", "young"):
        (staging / name / "inner").mkdir(parents=True)
    (staging / "stray").write_text("x")
    long_ago = time.time() - STAGING_AFTER_SECONDS - 60
    for name in ("old", "stray"):
        os.utime(staging / name, (long_ago, long_ago))
    run(workspace)
    assert sorted(path.name for path in staging.iterdir()) == ["young"]


def test_housekeeping_runs_at_night_in_the_shops_zone(tmp_path: Path) -> None:
    """The schedule's clock is the shop's, and it is on by default."""
    workspace = new_workspace(tmp_path)
    nightly, weekly = all_schedules(workspace, all_jobs(workspace))
    assert (nightly.cron_schedule, nightly.execution_timezone) == ("30 3 * * *", "Asia/Shanghai")
    assert (weekly.cron_schedule, weekly.execution_timezone) == ("0 4 * * 0", "Asia/Shanghai")
    assert {nightly.default_status, weekly.default_status} == {dg.DefaultScheduleStatus.RUNNING}


def test_the_model_of_all_segments_is_trained_for_the_day_before(tmp_path: Path) -> None:
    """On a Sunday morning of the shop the run asks for Saturday, once; outside the calendar it asks for nothing."""
    workspace = new_workspace(tmp_path, first_day=date(2024, 3, 1), days=10)
    _, weekly = all_schedules(workspace, all_jobs(workspace))
    repository = build_definitions(workspace).get_repository_def()
    for day, asked in ((10, ["2024-03-09"]), (17, [])):
        sunday = datetime(2024, 3, day, 4, tzinfo=ZoneInfo("Asia/Shanghai"))
        context = dg.build_schedule_context(scheduled_execution_time=sunday, repository_def=repository)
        requests = weekly.evaluate_tick(context).run_requests or []
        assert [request.partition_key for request in requests] == asked
