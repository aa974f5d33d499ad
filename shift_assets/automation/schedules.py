"""Schedules: only what has a fixed time. Everything else reacts to files (sensors) or to the graph (conditions)."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from shift_assets.automation.jobs import Job
from shift_assets.resources.platform import Platform

HOUSEKEEPING_AT = "30 3 * * *"


def all_schedules(platform: Platform, jobs: Mapping[str, Job]) -> list[dg.ScheduleDefinition]:
    """Nightly housekeeping in the shop's own zone."""
    return [
        dg.ScheduleDefinition(
            name="nightly_housekeeping",
            job=jobs["housekeeping"],
            cron_schedule=HOUSEKEEPING_AT,
            execution_timezone=platform.source.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ]
