"""Laws of the gate: a partition that breaks a promise is read by nobody, whenever and however reading is tried."""

from __future__ import annotations

import re
import shlex

import pyarrow as pa
import pyarrow.compute as pc
from typer.testing import CliRunner

from shift_assets.cli.app import app
from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.workspace.quality_gate import validate_and_store
from shift_assets_tests.end_to_end.shops import LAST_DAY, Shop, changed

COMMAND = re.compile(r"shift-assets (run --from \S+ --to \S+ --segment \S+)")


def test_readers_refuse_a_broken_partition_until_its_command_has_repaired_it(shop: Shop, copy: Shop) -> None:
    """Rows published past the checks are refused by a later, separate run, before and after they were validated;
    the command that the message names brings back what stood."""
    partition = Partition(LAST_DAY, copy.segments[0])
    _break(copy, partition)
    existing = copy.workspace.lake.published(INTEREST_SERIES)[partition]

    (unchecked,) = copy.materialise(["interest_series"], [partition])
    assert f"clean_events, partition {partition.day}|{partition.segment}: its content changed" in unchecked

    validate_and_store(copy.workspace.lake, CLEAN_EVENTS, [partition], "law", copy.workspace.source.timezone)
    (failed,) = copy.materialise(["interest_series"], [partition])
    assert "failed “every delivered row is clean or rejected”, observed" in failed
    assert "and 1 more" in failed
    assert copy.workspace.lake.published(INTEREST_SERIES)[partition] == existing

    remedy = COMMAND.search(failed)
    assert remedy, failed
    result = CliRunner().invoke(app, [*shlex.split(remedy[1]), "--home", str(copy.home), "--json"])
    assert result.exit_code == 0, result.output
    assert changed(shop.digests(), copy.digests()) == {}


def test_other_partitions_stay_readable(copy: Shop) -> None:
    """One broken segment holds back nobody else: the gate is per day and segment."""
    broken, sound = (Partition(LAST_DAY, segment) for segment in copy.segments[:2])
    _break(copy, broken)
    assert copy.materialise(["interest_series"], [sound]) == []


def _break(shop: Shop, partition: Partition) -> None:
    """Publishes the partition with its first row twice, as an operator with a fresh claim could."""
    rows = shop.workspace.lake.read(
        CLEAN_EVENTS, first_day=partition.day, last_day=partition.day, segments=[partition.segment]
    )
    twice = pa.concat_tables([rows, rows.slice(0, 1)])
    assert pc.count_distinct(twice["event_id"]).as_py() < twice.num_rows
    claim = shop.workspace.lake.claim(CLEAN_EVENTS, [partition], "law")
    shop.workspace.lake.publish(CLEAN_EVENTS, twice, claim)
