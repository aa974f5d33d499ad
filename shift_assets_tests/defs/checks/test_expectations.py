"""Laws of the asset checks: what they hold back in a run, what the gate holds back after it, what Dagster shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from dagster import DagsterEventType

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.table import Table
from shift_assets.defs import partitions as keys
from shift_assets.defs.checks import expectations as asset_checks
from shift_assets.defs.checks.expectations import check_name, freshness, table_checks
from shift_assets.defs.table_asset import TableAsset, build_asset
from shift_assets.quality.gate import GateClosed
from shift_assets.quality.suites import ACCOUNTING, REJECTED_SHARE, expectations
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.lakes import rows_of
from shift_assets_tests.workspaces import FIRST_DAY, SOURCE, land_file, new_workspace

pytestmark = pytest.mark.slow

SEGMENTS = ("shard-0", "shard-1")
DAYS = [FIRST_DAY + timedelta(days=n) for n in range(3)]
EVERY = [Partition(day, segment) for day in DAYS for segment in SEGMENTS]
ROWS = 20


class Shop:
    """Events that a test may lose a row of, their real checks, and one reader behind the gate."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.workspace = new_workspace(home, source=SOURCE.replace("Asia/Shanghai", "UTC"))
        self.instance = instance
        self.lost: set[Partition] = set()
        self.rejected: dict[Partition, int] = {}
        partitions = keys.day_segment_partitions(self.workspace.settings, self.workspace.source)
        assets = [
            self._asset(CLEAN_EVENTS, [], self._events, partitions),
            self._asset(INTEREST_SERIES, [CLEAN_EVENTS.name], self._series, partitions),
        ]
        self.definitions = dg.Definitions(
            assets=assets,
            asset_checks=[table_checks(self.workspace, CLEAN_EVENTS), freshness()],
            jobs=[
                dg.define_asset_job("everything", dg.AssetSelection.all()),
                dg.define_asset_job("reader", dg.AssetSelection.assets(INTEREST_SERIES.name)),
            ],
            resources={"workspace": self.workspace},
            executor=dg.in_process_executor,
        )

    def _asset(
        self, table: Table, deps: list[str], compute: object, partitions: dg.PartitionsDefinition
    ) -> dg.AssetsDefinition:
        asset = TableAsset(
            table=table,
            group="test",
            deps=deps,
            compute=compute,  # type: ignore[arg-type]
        )
        return build_asset(asset, partitions, self.workspace.settings)

    def _events(self, _: Workspace, requested: list[Partition]) -> pa.Table:
        clean = [rows_of(CLEAN_EVENTS, partition, ROWS) for partition in requested]
        rejected = [rows_of(REJECTED_EVENTS, partition, self.rejected.get(partition, 0)) for partition in requested]
        deliveries = [
            {
                "day": p.day,
                "segment": p.segment,
                "source_file": f"events/day={p.day}/part.jsonl",
                "file_sha256": "0" * 64,
            }
            | {"file_rows": ROWS, "rows": ROWS + self.rejected.get(p, 0) + (p in self.lost)}
            for p in requested
        ]
        for table, rows in (
            (REJECTED_EVENTS, pa.concat_tables(rejected)),
            (DELIVERIES, pa.Table.from_pylist(deliveries, schema=DELIVERIES.schema)),
        ):
            self.workspace.lake.publish(table, rows, self.workspace.lake.claim(table, requested, "test"))
        return pa.concat_tables(clean)

    def _series(self, workspace: Workspace, requested: list[Partition]) -> pa.Table:
        days = days_of(requested)
        workspace.reader.read(CLEAN_EVENTS, days[0], days[-1], segments_of(requested))
        return pa.concat_tables([rows_of(INTEREST_SERIES, partition, 3) for partition in requested])

    def run(self, requested: Iterable[Partition], job: str = "everything") -> dg.ExecuteInProcessResult:
        wanted = list(requested)
        single = str(keys.key_of(wanted[0])) if len(wanted) == 1 else None
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=single,
            tags=None if single else keys.range_tags(wanted, SEGMENTS),
            raise_on_error=False,
        )

    def materialised(self, table: Table) -> set[Partition]:
        found = self.instance.get_materialized_partitions(dg.AssetKey(table.name))
        return {keys.parse_key(key) for key in found}

    def check_results(self, expectation: str) -> dict[Partition, str]:
        """What Dagster shows of one check, by partition."""
        key = dg.AssetCheckKey(dg.AssetKey(CLEAN_EVENTS.name), check_name(expectation))
        return {
            keys.parse_key(str(info.partition_key)): str(info.latest_execution_status.value)
            for info in self.instance.event_log_storage.get_asset_check_partition_info([key])
            if info.partition_key is not None
        }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shop(tmp_path, instance)


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """Class and message of what made steps fail."""
    found = []
    for event in result.all_events:
        if event.event_type == DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            while error is not None:
                found.append(f"{error.cls_name}: {error.message}")
                error = error.cause
    return found


def test_a_failed_error_holds_back_the_readers_of_the_same_run(shop: Shop) -> None:
    """Where a row was lost, the events stand but nothing that reads them is made."""
    bad = EVERY[0]
    shop.lost = {bad}
    assert not shop.run([bad]).success
    assert shop.materialised(CLEAN_EVENTS) == {bad}
    assert shop.materialised(INTEREST_SERIES) == set()


def test_a_warning_holds_nothing_back(shop: Shop) -> None:
    """Many rejected rows are reported, and the day goes on."""
    shop.rejected = {EVERY[0]: 5}
    assert shop.run([EVERY[0]]).success
    assert shop.materialised(INTEREST_SERIES) == {EVERY[0]}
    assert shop.check_results(REJECTED_SHARE) == {EVERY[0]: "FAILED"}
    assert shop.check_results(ACCOUNTING) == {EVERY[0]: "SUCCEEDED"}


def test_a_later_run_of_a_reader_is_refused_at_the_gate(shop: Shop) -> None:
    """Started by itself for the failed partition, the reader fails and names it; for the others it runs."""
    bad = EVERY[2]
    shop.lost = {bad}
    shop.run(EVERY)
    refused = shop.run([bad], "reader")
    assert not refused.success
    messages = " ".join(failures(refused))
    assert GateClosed.__name__ in messages
    assert f"clean_events, partition {bad.day}|{bad.segment}: failed" in messages
    assert ACCOUNTING in messages
    assert shop.run([EVERY[0]], "reader").success
    assert shop.materialised(INTEREST_SERIES) == {EVERY[0]}


def test_a_repaired_partition_passes_the_gate(shop: Shop) -> None:
    """Cleaned again without loss, the same partition is validated again and its reader runs."""
    shop.lost = {EVERY[0]}
    shop.run([EVERY[0]])
    shop.lost = set()
    assert shop.run([EVERY[0]]).success
    assert shop.check_results(ACCOUNTING) == {EVERY[0]: "SUCCEEDED"}
    assert shop.materialised(INTEREST_SERIES) == {EVERY[0]}


def test_dagster_shows_each_partition_of_a_range_run_by_itself(shop: Shop) -> None:
    """One bad partition of six is shown as failed, the five others as passed."""
    bad = EVERY[3]
    shop.lost = {bad}
    assert not shop.run(EVERY).success
    assert shop.check_results(ACCOUNTING) == {p: "FAILED" if p == bad else "SUCCEEDED" for p in EVERY}


def test_a_single_run_changes_only_its_own_partition(shop: Shop) -> None:
    """After a range run, a run of one partition gives that one a new check result and leaves the others."""
    shop.run(EVERY)
    shop.lost = {EVERY[1]}
    shop.run([EVERY[1]])
    assert shop.check_results(ACCOUNTING) == {p: "FAILED" if p == EVERY[1] else "SUCCEEDED" for p in EVERY}


def test_a_very_long_run_reports_only_what_failed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, passed partitions are recorded in the lake alone; failed ones by Dagster too."""
    monkeypatch.setattr(asset_checks, "MAX_REPORTED_PARTITIONS", 2)
    shop.lost = {EVERY[5]}
    shop.run(EVERY)
    found = shop.check_results(ACCOUNTING)
    assert {p for p, status in found.items() if status == "FAILED"} == {EVERY[5]}


def test_every_expectation_has_a_check_of_its_own_name(shop: Shop) -> None:
    """Names are letters, digits and underscores, and no two expectations share one."""
    names = [check_name(item.name) for item in expectations(CLEAN_EVENTS)]
    assert len(set(names)) == len(names)
    assert all(name.replace("_", "").isalnum() and name.isascii() for name in names)
    (spec,) = [s for s in table_checks(shop.workspace, CLEAN_EVENTS).check_specs if s.name == check_name(ACCOUNTING)]
    assert spec.blocking


def test_freshness_looks_at_the_landing_folder_not_at_the_clock(shop: Shop) -> None:
    """The newest landed day has to stand in every segment; a missing one is named."""
    checks = [check for check in shop.definitions.asset_checks or [] if isinstance(check, dg.AssetChecksDefinition)]
    (check,) = [check for check in checks if len(list(check.check_specs)) == 1]

    def passed() -> tuple[bool, str]:
        result = check(shop.workspace)
        assert isinstance(result, dg.AssetCheckResult)
        return result.passed, str(result.metadata.get("missing_segments"))

    assert passed()[0] is False
    land_file(shop.workspace, DAYS[0])
    shop.run([Partition(DAYS[0], SEGMENTS[0])])
    assert "shard-1" in passed()[1]
    shop.run([Partition(DAYS[0], SEGMENTS[1])])
    assert passed()[0] is True
    land_file(shop.workspace, DAYS[1])
    assert passed()[0] is False
