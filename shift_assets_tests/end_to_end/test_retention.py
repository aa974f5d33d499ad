"""Laws of the retention of state snapshots: no range loses one that it still reads, however it was started."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.partition import Partition, days_between
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import INTEREST_STATE, SHIFT_ALERTS, SHIFT_SIGNALS
from shift_assets.defs.automation.jobs import all_jobs
from shift_assets.defs.instance import open_instance
from shift_assets.defs.range_run import QUIET_RUN_CONFIG
from shift_assets.simulate.writer import Summary
from shift_assets.workspace import home as homes
from shift_assets_tests.end_to_end.shops import LAST_DAY, SIMULATION, Shop, changed, new_shop

KEEP_DAYS = 7
FIRST = LAST_DAY - timedelta(days=KEEP_DAYS + 2)
OLDEST_KEPT = LAST_DAY - timedelta(days=KEEP_DAYS)
READERS = [SHIFT_SIGNALS.name, SHIFT_ALERTS.name]


@pytest.fixture(scope="module")
def ran(log: Summary, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A home that keeps the state of fewer days than the range that one command ran."""
    shop = new_shop(tmp_path_factory.mktemp("forgetful") / "home", log.landing)
    settings = shop.home / "settings.yaml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("state: {", f"state: {{keep_days: {KEEP_DAYS}, "), encoding="utf-8")
    shop = Shop(homes.open_workspace(shop.home))
    shop.run(FIRST, LAST_DAY)
    return shop


@pytest.fixture
def forgetful(ran: Shop, tmp_path: Path) -> Shop:
    return ran.copied(tmp_path / "home")


def snapshots(shop: Shop) -> list[date]:
    return sorted({partition.day for partition in shop.workspace.lake.published(INTEREST_STATE)})


def corners(shop: Shop, first: date, last: date) -> list[Partition]:
    return [Partition(day, segment) for day in (first, last) for segment in shop.segments]


def keep_house(shop: Shop, instance: dg.DagsterInstance) -> None:
    job = all_jobs(shop.workspace)["housekeeping"]
    assert isinstance(job, dg.JobDefinition)
    assert job.execute_in_process(instance=instance, run_config=QUIET_RUN_CONFIG).success


def test_a_command_over_more_days_than_are_kept_runs_every_stage(ran: Shop) -> None:
    """Every day of the range has signals and alerts; then the snapshots past their retention go."""
    for table in (SHIFT_SIGNALS, SHIFT_ALERTS):
        assert sorted({p.day for p in ran.workspace.lake.published(table)}) == days_between(FIRST, LAST_DAY)
    assert snapshots(ran) == days_between(OLDEST_KEPT, LAST_DAY)


def test_a_backfill_keeps_the_snapshots_between_its_runs(forgetful: Shop) -> None:
    """Its state is one run and what reads it the next: a night between them drops nothing that the next one reads."""
    before = forgetful.digests(first=FIRST)
    for name in READERS:
        forgetful.workspace.lake.drop(TABLES[name], forgetful.workspace.lake.published(TABLES[name]), "law")
    asked = corners(forgetful, SIMULATION.first_day, LAST_DAY)
    with open_instance(forgetful.workspace) as instance:
        backfill = PartitionBackfill("law", BulkActionStatus.REQUESTED, False, tags={}, backfill_timestamp=0.0)
        instance.add_backfill(backfill)
        assert forgetful.materialise([INTEREST_STATE.name], asked) == []
        keep_house(forgetful, instance)
        assert forgetful.materialise(READERS, asked) == []
        instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
        keep_house(forgetful, instance)
    assert changed(before, forgetful.digests(first=FIRST)) == {}
    assert snapshots(forgetful) == days_between(OLDEST_KEPT, LAST_DAY)


def test_a_day_whose_predecessor_is_no_longer_kept_runs_again_by_the_command_of_its_error(forgetful: Shop) -> None:
    """Dagster alone cannot make the day; the command that the message names makes the state before it again."""
    day = OLDEST_KEPT - timedelta(days=1)
    before = forgetful.digests()
    (message,) = forgetful.materialise([SHIFT_SIGNALS.name], [Partition(day, "uk")])
    assert f"shift-assets run --from {day} --to {day} --segment uk" in message
    forgetful.run(day, day, ["uk"])
    after = forgetful.digests()
    # The churn model of a small segment is fitted on the states of all, of which only this segment's is made again.
    by_churn = {CHURN_PREDICTIONS.name, SHIFT_SIGNALS.name, QUALITY_VERDICTS.name}
    assert {INTEREST_STATE.name} <= changed(before, after).keys() <= {INTEREST_STATE.name} | by_churn
    assert Partition(day, "uk") in after[INTEREST_STATE.name]
