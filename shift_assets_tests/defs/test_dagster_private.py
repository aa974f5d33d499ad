"""Canaries: what we use of Dagster's private parts still does what we use it for."""

import re
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import extract_data_version_from_entry
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from shift_assets.defs import dagster_private as private
from shift_assets.storage import event_log

pytestmark = pytest.mark.slow

PACKAGE = Path(private.__file__).parents[1]


@dg.op
def nothing() -> None:
    return None


@dg.job(tags={"of": "the job"})
def small() -> None:
    nothing()


DEFINITIONS = dg.Definitions(jobs=[small])


def test_no_other_file_imports_private_parts() -> None:
    """One file to read when Dagster is upgraded; the event log overrides a private method and says so."""
    private_import = re.compile(r"(?m)^\s*(from|import) dagster\._")
    found = {path for path in PACKAGE.rglob("*.py") if private_import.search(path.read_text("utf-8"))}
    assert found == {Path(private.__file__), Path(event_log.__file__)}


def test_a_run_in_this_process_has_the_origin_of_the_served_code_location(tmp_path: Path) -> None:
    """Its origin names job, repository and code location; tags of job and caller stay; later runs are as before."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = private.execute_in_process(DEFINITIONS, "small", instance, {"tags": {"of_the": "caller"}})
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert run.remote_job_origin == private.job_origin(DEFINITIONS, "small")
        assert run.remote_job_origin.repository_origin.get_label() == "__repository__@shift_assets"
        assert {"of": "the job", "of_the": "caller"}.items() <= run.tags.items()
        label = {".dagster/repository": "__repository__@shift_assets"}
        assert [found.run_id for found in instance.get_runs(dg.RunsFilter(tags=label))] == [run.run_id]
        later = instance.get_run_by_id(small.execute_in_process(instance=instance).run_id)
        assert later is not None
        assert later.remote_job_origin is None


def test_define_asset_job_returns_what_we_call_an_asset_job() -> None:
    assert isinstance(dg.define_asset_job("some", dg.AssetSelection.all()), private.AssetJob)


def test_an_unfinished_backfill_is_seen_until_it_ends(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert not private.has_unfinished_backfill(instance)
        asked = PartitionBackfill(
            "one", BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=0.0
        )
        instance.add_backfill(asked)
        assert private.has_unfinished_backfill(instance)
        instance.update_backfill(asked.with_status(BulkActionStatus.COMPLETED_SUCCESS))
        assert not private.has_unfinished_backfill(instance)


def test_an_output_with_the_key_emits_no_event() -> None:
    """The step's own event is all that Dagster records."""
    partitions = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def table(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        context.log_event(dg.AssetMaterialization("table", partition="a"))
        return dg.MaterializeResult("table", metadata={private.EVENTS_ARE_EMITTED_BY_THE_STEP: True})

    span = {private.RANGE_START_TAG: "a", private.RANGE_END_TAG: "b"}
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([table], instance=instance, tags=span).success
        assert [r.partition_key for r in instance.fetch_materializations(table.key, limit=9).records] == ["a"]


def test_a_run_that_may_not_be_retried_is_not(tmp_path: Path) -> None:
    """With 0 in the tag, an instance that retries crashed runs marks the failed run as one that it leaves alone."""
    overrides = {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        marks = {}
        for allowed in ("0", "2"):
            tags = {private.MAX_RETRIES_TAG: allowed}
            run = instance.create_run_for_job(small, status=dg.DagsterRunStatus.STARTED, tags=tags)
            instance.report_run_failed(run)
            failed = instance.get_run_by_id(run.run_id)
            assert failed is not None
            marks[allowed] = failed.tags.get("dagster/will_retry")
    assert marks == {"0": "false", "2": "true"}


def test_freeing_the_slots_of_a_run_lets_another_run_claim_them(tmp_path: Path) -> None:
    """The slots of other runs stay claimed."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("pool", 1)
        assert storage.claim_concurrency_slot("pool", "first", "step").is_claimed
        private.free_concurrency_slots(instance, "another")
        assert not storage.claim_concurrency_slot("pool", "second", "step").is_claimed
        private.free_concurrency_slots(instance, "first")
        assert storage.claim_concurrency_slot("pool", "second", "step").is_claimed


def test_an_event_with_version_tags_carries_the_versions(tmp_path: Path) -> None:
    """Dagster finds partition, data version and code version in an event that a step emits itself."""
    key = dg.MultiPartitionKey({"day": "2026-03-01", "segment": "uk"})
    tags = private.version_tags(key, "digest", "code")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("table", partition=key, tags=tags))
        (record,) = instance.fetch_materializations(dg.AssetKey("table"), limit=9).records
        assert record.partition_key == "2026-03-01|uk"
        assert extract_data_version_from_entry(record.event_log_entry) == dg.DataVersion("digest")
        assert instance.get_latest_materialization_code_versions([dg.AssetKey("table")]) == {
            dg.AssetKey("table"): "code"
        }
