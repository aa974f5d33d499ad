"""Materialising a range of days through Dagster, from the command line."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, EventLogEntry
from filelock import FileLock, Timeout

from shift_assets.churn.calibration import refit_day
from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.partition import Partition, days_between
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.defs.assets.graph import BASE_MODEL
from shift_assets.defs.automation.housekeeping import drop_expired_snapshots
from shift_assets.defs.automation.jobs import BASE_MODEL_JOB, CATEGORIES, DAILY, HISTORY
from shift_assets.defs.dagster_private import MAX_RETRIES_TAG, execute_in_process, free_concurrency_slots
from shift_assets.defs.instance import open_instance
from shift_assets.defs.partitions import first_day, parse_key, range_tags
from shift_assets.defs.range_selection import RangeSelection, select
from shift_assets.ingest.readers.source_files import list_source_files
from shift_assets.workspace.workspace import Workspace

_log = logging.getLogger(__name__)
OnProgress = Callable[[str], None]
QUIET_RUN_CONFIG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
BASE_MODEL_DAYS = 7
STARTED_BY_COMMAND = {"shift/started_by": "command"}
"""Tag of the runs that a command executes in its own process."""
NO_RETRY = {MAX_RETRIES_TAG: "0"}
"""A killed command is called again by a person; a retry by the daemon would write the same partitions."""


@dataclass
class RangeRunResult:
    """What a range run did: its assets, seconds per step, and the errors of the steps that failed."""

    first_day: date
    last_day: date
    history_from: date | None = None
    assets: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def success(self) -> bool:
        return not self.errors


def run_range(
    definitions: dg.Definitions,
    workspace: Workspace,
    first: date,
    last: date,
    segments: Sequence[str],
    *,
    only: Sequence[str] = (),
    on_progress: OnProgress = lambda _: None,
) -> RangeRunResult:
    """Materialises every stage for the closed range of days, and before it the history that the range needs.

    History is every earlier calendar day whose base assets were never materialised, and the state of earlier days that
    the range reads and that is no longer kept. The category model is fitted where it never was; where it was fitted on
    the few days that a young log had, it is fitted again, and all earlier days are history. The model of all segments
    is trained where none is from the last BASE_MODEL_DAYS. One run each, in this process.

    Args:
        definitions: The installation's definitions.
        workspace: The installation.
        first: First day of the range.
        last: Last day of the range.
        segments: The segments.
        only: Tables that are asked for; what they do not need is not materialised. Empty: every stage.
        on_progress: Called with a description of each phase and step.

    Raises:
        UserError: `only` names what is no table.
    """
    selected = select(definitions, only)
    report = RangeRunResult(first, last, assets=selected.assets)
    with open_instance(workspace) as instance:
        for run_id in close_killed_runs(instance, workspace.settings.dagster_home):
            on_progress(f"run {run_id} was killed; it is closed as failed, and its slots are free again")
        start = first_day(workspace.settings)
        fit_key = start.isoformat()
        if fit_key not in instance.get_materialized_partitions(dg.AssetKey("category_model")):
            _execute(definitions, CATEGORIES, instance, report, on_progress, partition_key=fit_key)
        execute = partial(_execute, definitions, instance=instance, report=report, on_progress=on_progress)
        missing = _missing_history(instance, selected, start, first, segments)
        if report.success and selected.has_state and _categories_are_young(workspace, start, last):
            on_progress("the categories were fitted on a few days: they are fitted again, and earlier days run again")
            execute(CATEGORIES, partition_key=fit_key)
            missing = days_between(start, first - timedelta(days=1)) if start < first else []
        if missing and report.success and selected.has_state:
            _rebuild_dropped_state(workspace, min(missing), segments, execute, on_progress)
        if missing and report.success:
            report.history_from = min(missing)
            on_progress(f"history {min(missing)} … {max(missing)}: {', '.join(selected.history)}")
            tags = _range_tags(workspace, min(missing), max(missing), segments)
            execute(HISTORY, tags=tags, assets=None if selected.has_state else selected.history)
        if report.success and selected.has_state:
            _rebuild_dropped_state(workspace, first, segments, execute, on_progress)
        if report.success and selected.with_base_model and not _has_base(instance, first):
            execute(BASE_MODEL_JOB, partition_key=first.isoformat())
        if report.success:
            on_progress(f"{', '.join(selected.assets) if only else 'all stages'} {first} … {last}")
            tags = _range_tags(workspace, first, last, segments)
            execute(DAILY, tags=tags, assets=selected.assets if only else None)
        if report.success and selected.has_state:
            # A next range may go on from the last day, however old it is.
            drop_expired_snapshots(workspace, instance, "retention after a range", still_read=last)
    return report


def _range_tags(workspace: Workspace, first: date, last: date, segments: Sequence[str]) -> dict[str, str]:
    corners = [Partition(day, segment) for day in (first, last) for segment in segments]
    return range_tags(corners, workspace.source.segment_keys)


def _rebuild_dropped_state(
    workspace: Workspace, before: date, segments: Sequence[str], execute: Callable[..., None], on_progress: OnProgress
) -> None:
    """Makes again the state that the day `before` reads, where retention dropped it, from the series that are kept."""
    start, weekday = first_day(workspace.settings), workspace.settings.schedule.refit_weekday
    kept = workspace.lake.published(INTEREST_STATE)

    def has_inputs(day: date) -> bool:
        read = [one for one in (day - timedelta(days=1), refit_day(day, weekday)) if one >= start]
        return all(Partition(one, segment) in kept for one in read for segment in segments)

    since = before
    while not has_inputs(since):
        since -= timedelta(days=1)
    if since < before:
        yesterday = before - timedelta(days=1)
        on_progress(f"state {since} … {yesterday}, which is no longer kept")
        execute(HISTORY, tags=_range_tags(workspace, since, yesterday, segments), assets=[INTEREST_STATE.name])


def close_killed_runs(instance: dg.DagsterInstance, dagster_home: Path) -> list[str]:
    """Closes runs whose command was killed; returns their ids.

    Such a run stays started for ever, and so do the pool slots that it held: the next run would wait for them
    without end. A living command holds a lock of its run, which the system takes from it however it ends.
    """
    started = dg.RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.STARTED], tags=STARTED_BY_COMMAND)
    killed = []
    for run in instance.get_runs(filters=started):
        if run.parent_run_id:  # re-executed from the UI: it inherited the tag, and the daemon looks after it
            continue
        with suppress(Timeout), _run_lock(dagster_home, run.run_id):
            instance.report_run_failed(run, "the command that executed this run was killed")
            free_concurrency_slots(instance, run.run_id)
            killed.append(run.run_id)
    return killed


@contextmanager
def _run_lock(dagster_home: Path, run_id: str) -> Iterator[None]:
    """Holds the lock of a run; raises Timeout where a living process holds it."""
    path = dagster_home / "alive" / f"{run_id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path, timeout=0):
        yield
        path.unlink(missing_ok=True)


def _has_base(instance: dg.DagsterInstance, day: date) -> bool:
    """Whether a model of all segments exists from `day` or the BASE_MODEL_DAYS before."""
    oldest = (day - timedelta(days=BASE_MODEL_DAYS)).isoformat()
    return any(
        oldest <= key <= day.isoformat() for key in instance.get_materialized_partitions(dg.AssetKey(BASE_MODEL))
    )


def _missing_history(
    instance: dg.DagsterInstance, selected: RangeSelection, start: date, first: date, segments: Sequence[str]
) -> list[date]:
    """The earlier days that the range reads and on which one of the base assets was never materialised."""
    if selected.days_before is not None:
        start = max(start, first - timedelta(days=selected.days_before))
    if start >= first or not selected.history:
        return []
    newest_base = selected.history[-1]  # each is made of the one before
    done = {parse_key(key) for key in instance.get_materialized_partitions(dg.AssetKey(newest_base))}
    earlier = days_between(start, first - timedelta(days=1))
    return [day for day in earlier if any(Partition(day, segment) not in done for segment in segments)]


def _categories_are_young(workspace: Workspace, start: date, last: date) -> bool:
    """Whether the category model was fitted on too few landed days, and no later day would keep its categories."""
    listed = list_source_files(workspace.settings.landing, start, date.max)
    if not workspace.category_models.refit_is_due(start, len({file.folder_day for file in listed})):
        return False
    return all(partition.day <= last for partition in workspace.lake.published(CLEAN_EVENTS))


def _execute(
    definitions: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    report: RangeRunResult,
    on_progress: OnProgress,
    *,
    tags: dict[str, str] | None = None,
    partition_key: str | None = None,
    assets: Sequence[str] | None = None,
) -> None:
    """Executes a job, or only some of its assets, in this process, and adds to `report` what it did."""
    run_id = str(uuid.uuid4())

    def log_step(event: EventLogEntry) -> None:
        happened = event.dagster_event
        if happened and happened.event_type == DagsterEventType.STEP_SUCCESS:
            on_progress(f"  {happened.step_key} {happened.step_success_data.duration_ms / 1000:.1f} s")

    instance.add_event_listener(run_id, log_step)
    with _run_lock(Path(instance.root_directory), run_id):
        result = execute_in_process(
            definitions,
            job,
            instance,
            {
                "tags": {**(tags or {}), **STARTED_BY_COMMAND, **NO_RETRY},
                "partition_key": partition_key,
                "asset_selection": [dg.AssetKey(name) for name in assets] if assets else None,
                "raise_on_error": False,
                "run_config": QUIET_RUN_CONFIG,
                "run_id": run_id,
            },
        )
    for event in result.all_events:
        if event.event_type == DagsterEventType.STEP_SUCCESS and event.step_key:
            report.seconds[f"{job}: {event.step_key}"] = event.step_success_data.duration_ms / 1000
        if event.event_type == DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            error = data.user_failure_data.description if data.user_failure_data else None
            cause = data.error.cause if data.error and data.error.cause else data.error
            report.errors.append(f"{event.step_key}: {error or (cause.message.strip() if cause else 'failed')}")
            if data.error:
                _log.info("%s failed\n%s", event.step_key, data.error.to_string())
    if not result.success and report.success:
        report.errors.append(f"{job} failed; `shift-assets ui` shows the run")
