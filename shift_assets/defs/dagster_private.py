"""Everything private of Dagster that we use: the pin in pyproject.toml is exact, and each name has a canary test.

One exception: the event log imports the class that it derives from, and overrides its `_connect`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
)
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    MULTIDIMENSIONAL_PARTITION_PREFIX,
    PARTITION_NAME_TAG,
    RUN_KEY_TAG,
)
from dagster._core.workspace.load import location_origins_from_yaml_paths

EVENTS_ARE_EMITTED_BY_THE_STEP = SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
"""Metadata key of an output for which Dagster emits no event of its own.

The step then emits one event per partition, with that partition's own data version. A range run otherwise stamps one
version on all its partitions (dagster#21072).
"""

AssetJob = UnresolvedAssetJobDefinition
"""What `define_asset_job` returns."""

RANGE_START_TAG, RANGE_END_TAG = ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG
"""Tags of a run over a range of partitions: its first and last key."""

__all__ = [
    "EVENTS_ARE_EMITTED_BY_THE_STEP",
    "MAX_RETRIES_TAG",
    "PARTITION_NAME_TAG",
    "RANGE_END_TAG",
    "RANGE_START_TAG",
    "RUN_KEY_TAG",
    "AssetJob",
    "execute_in_process",
    "free_concurrency_slots",
    "has_unfinished_backfill",
    "input_pointer_tag",
    "input_version_tag",
    "job_origin",
    "version_tags",
]


def version_tags(key: dg.MultiPartitionKey, data_version: str, code_version: str) -> dict[str, str]:
    """The tags by which a materialisation event carries the versions of its partition."""
    return {
        **{f"{MULTIDIMENSIONAL_PARTITION_PREFIX}{name}": value for name, value in key.keys_by_dimension.items()},
        DATA_VERSION_TAG: data_version,
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        CODE_VERSION_TAG: code_version,
    }


def input_version_tag(asset: str) -> str:
    """Name of the tag that holds the data version of an input."""
    return f"{INPUT_DATA_VERSION_TAG_PREFIX}/{asset}"


def input_pointer_tag(asset: str) -> str:
    """Name of the tag that holds the storage id of the newest event of an input."""
    return f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{asset}"


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
