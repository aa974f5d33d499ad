"""Where everything is put together, and the only such place.

`build_definitions` takes an installation and returns its Dagster definitions; `defs` are those of the installation
that `SHIFT_HOME` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from shift_assets.assets import all_assets
from shift_assets.automation.jobs import all_jobs
from shift_assets.automation.schedules import all_schedules
from shift_assets.automation.sensors import all_sensors
from shift_assets.checks import all_checks
from shift_assets.home import platform_from_environment
from shift_assets.resources.platform import Platform
from shift_assets.settings import home_from_environment


def build_definitions(platform: Platform, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions of one installation; `resources` replaces resources by name, for tests."""
    assets = all_assets(platform)
    jobs = all_jobs(platform)
    return dg.Definitions(
        assets=assets,
        asset_checks=all_checks(platform),
        jobs=list(jobs.values()),
        schedules=all_schedules(platform, jobs),
        sensors=all_sensors(platform, jobs),
        resources={"platform": platform, **(resources or {})},
        # One process for all steps of a run: a process per step costs a Python, Dagster and torch start each
        # (benchmarks/RESULTS.md), and the heavy parts are parallel inside.
        executor=dg.in_process_executor,
    )


defs = build_definitions(platform_from_environment(home_from_environment()))
