"""Schedules: only what has a fixed time. Everything else reacts to files (sensors) or to the graph (conditions)."""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from shift_assets.defs.automation.jobs import BASE_MODEL_JOB, Job
from shift_assets.defs.partitions import day_partitions
from shift_assets.workspace.workspace import Workspace

HOUSEKEEPING_AT = "30 3 * * *"
BASE_MODEL_AT = "0 4 * * {weekday}"


def all_schedules(workspace: Workspace, jobs: Mapping[str, Job]) -> list[dg.ScheduleDefinition]:
    """Nightly housekeeping, and weekly the model of all segments for the day before, in the shop's own zone."""
    zone = workspace.source.timezone
    running = dg.DefaultScheduleStatus.RUNNING
    # Cron counts weekdays from Sunday, the settings from Monday.
    weekday = (workspace.settings.schedule.refit_weekday + 1) % 7

    days = day_partitions(workspace.settings, workspace.source)

    def day_before(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = (context.scheduled_execution_time.date() - timedelta(days=1)).isoformat()
        if not days.has_partition_key(day):
            return dg.SkipReason(f"{day} lies outside the calendar of the settings")
        return dg.RunRequest(run_key=day, partition_key=day)

    return [
        dg.ScheduleDefinition(
            name="nightly_housekeeping",
            job=jobs["housekeeping"],
            cron_schedule=HOUSEKEEPING_AT,
            execution_timezone=zone,
            default_status=running,
        ),
        dg.ScheduleDefinition(
            name="weekly_base_model",
            job=jobs[BASE_MODEL_JOB],
            cron_schedule=BASE_MODEL_AT.format(weekday=weekday),
            execution_timezone=zone,
            execution_fn=day_before,
            default_status=running,
        ),
    ]
