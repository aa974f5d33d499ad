"""Where everything is put together, and the only such place.

`build_definitions` takes an installation and returns its Dagster definitions; Dagster calls `defs` for those of the
installation that `SHIFT_HOME` names. Importing this module reads nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from shift_assets.defs.assets.graph import all_assets
from shift_assets.defs.automation.jobs import DAILY, all_jobs
from shift_assets.defs.automation.schedules import all_schedules
from shift_assets.defs.automation.sensors import all_sensors
from shift_assets.defs.checks.expectations import all_checks
from shift_assets.defs.resources import DUCKDB, duckdb_resource
from shift_assets.workspace.home import home_from_environment, workspace_from_environment
from shift_assets.workspace.workspace import Workspace


def build_definitions(workspace: Workspace, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions of one installation; `resources` replaces resources by name, for tests."""
    with _expected_warnings():
        jobs = all_jobs(workspace)
        definitions = dg.Definitions(
            assets=all_assets(workspace),
            asset_checks=all_checks(workspace),
            jobs=list(jobs.values()),
            schedules=all_schedules(workspace, jobs),
            sensors=all_sensors(workspace, jobs),
            resources={"workspace": workspace, DUCKDB: duckdb_resource(workspace), **(resources or {})},
            # One process for all steps of a run: a process per step costs a Python, Dagster and torch start each
            # (benchmarks/RESULTS.md), and the heavy parts are parallel inside.
            executor=dg.in_process_executor,
        )
        for name in jobs:  # Dagster keeps what is resolved here, where its warnings are expected
            definitions.resolve_job_def(name)
    return definitions


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Keeps quiet what Dagster warns about and we know.

    Backfill policies, multi-dimensional mappings and partitioned checks are beta or preview: the pin is exact, and
    tests are their canaries. The daily job mixes backfill policies: its range runs are asked for by tags, which no
    policy splits, and a backfill of the model alone goes one partition per run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.filterwarnings("ignore", message=f"Asset job {DAILY} materializes assets with varying Backfill")
        yield


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the installation that `SHIFT_HOME` names, read when Dagster loads the code location."""
    return build_definitions(workspace_from_environment(home_from_environment()))
