"""Everything private of Dagster that we use: the pin in pyproject.toml is exact, and each name has a canary test.

The event log's `_connect` is the one exception; it is overridden where the event log is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths

EVENTS_ARE_EMITTED_BY_THE_STEP = SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
"""Metadata key of an output for which Dagster emits no event of its own.

The step then emits one event per partition, with that partition's own data version. A range run otherwise stamps one
version on all its partitions (dagster#21072).
"""

AssetJob = UnresolvedAssetJobDefinition
"""What `define_asset_job` returns."""


def execute_in_process(
    definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, options: Mapping[str, Any]
) -> dg.ExecuteInProcessResult:
    """Run `job` in this process, with the options of `JobDefinition.execute_in_process`, as a run of the code location.

    The run carries the origin that webserver and daemon give to theirs. Without it no job page, timeline or
    filter by code location shows the run.
    """
    with _runs_of_the_code_location(definitions, job, instance):
        return definitions.resolve_job_def(job).execute_in_process(instance=instance, **options)


def free_concurrency_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Give back the pool slots that a run holds."""
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def has_unfinished_backfill(instance: dg.DagsterInstance) -> bool:
    """Whether a backfill is asked for or under way."""
    unfinished = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    return bool(instance.get_backfills(filters=BulkActionsFilter(statuses=unfinished), limit=1))


def job_origin(definitions: dg.Definitions, job: str) -> RemoteJobOrigin:
    """Where a webserver or daemon that reads workspace.yaml finds the job."""
    with as_file(files("shift_assets") / "workspace.yaml") as workspace:
        (location,) = location_origins_from_yaml_paths([str(workspace)])
    return RemoteRepositoryOrigin(location, definitions.get_repository_def().name).get_job_origin(job)


@contextmanager
def _runs_of_the_code_location(definitions: dg.Definitions, job: str, instance: dg.DagsterInstance) -> Iterator[None]:
    """Runs that `instance` records meanwhile get the origin of `job`, which `execute_in_process` cannot be given."""
    create, origin = instance.create_run_for_job, job_origin(definitions, job)

    def create_with_origin(*arguments: Any, **options: Any) -> dg.DagsterRun:
        return create(*arguments, **{**options, "remote_job_origin": origin})

    vars(instance)["create_run_for_job"] = create_with_origin
    try:
        yield
    finally:
        del vars(instance)["create_run_for_job"]
