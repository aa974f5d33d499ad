"""Laws of running again: in another home, in parts, after late files, over what exists. Content alone decides."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.simulate.writer import Summary
from shift_assets_tests.end_to_end.shops import (
    FIRST_RUN_DAY,
    LAST_DAY,
    LATENESS_DAYS,
    SIMULATION,
    Shop,
    changed,
    folder_of,
    land_folders,
    new_shop,
)

EARLIER_LAST_DAY = FIRST_RUN_DAY + timedelta(days=3)
"""The day after which another home's log is cut off at first."""
LATE_DAY = LAST_DAY - timedelta(days=1)


def test_nothing_of_a_day_depends_on_later_days_or_on_how_the_days_were_run(
    shop: Shop, log: Summary, tmp_path: Path
) -> None:
    """Another home sees the log up to a day only, and has the same tables for every day that is complete by then;
    with the rest delivered and run as a second range it has the same digest of every partition, models included."""
    other = new_shop(tmp_path / "home", log.landing, last_folder=EARLIER_LAST_DAY)
    other.run(FIRST_RUN_DAY, EARLIER_LAST_DAY)
    complete = EARLIER_LAST_DAY - timedelta(days=LATENESS_DAYS)
    assert complete >= FIRST_RUN_DAY
    assert changed(shop.digests(last=complete), other.digests(last=complete)) == {}
    assert changed(shop.digests(last=EARLIER_LAST_DAY), other.digests(last=EARLIER_LAST_DAY)) != {}
    land_folders(other, log.landing, EARLIER_LAST_DAY + timedelta(days=1), LAST_DAY)
    other.run(complete + timedelta(days=1), LAST_DAY)
    assert changed(shop.digests(), other.digests()) == {}
    models = [sorted(path.name for path in home.workspace.settings.models.rglob("*")) for home in (shop, other)]
    assert set(models[0]) <= set(models[1])


def test_running_a_range_again_changes_no_digest_and_no_data_version(shop: Shop, copy: Shop) -> None:
    """Idempotence: what is asked for twice is the same, for readers and for Dagster."""
    versions = copy.data_versions()
    first = LAST_DAY - timedelta(days=1)
    copy.run(first, LAST_DAY)
    assert changed(shop.digests(), copy.digests()) == {}
    assert copy.data_versions() == versions


def test_one_partition_alone_again_has_the_same_content(shop: Shop, copy: Shop) -> None:
    """A single day of a single segment, run by itself in the middle of the range, gives the rows of the range run."""
    partition = Partition(FIRST_RUN_DAY + timedelta(days=3), shop.segments[1])
    lake = copy.workspace.lake
    for name, table in TABLES.items():
        if name != "model_registry":
            assert lake.drop(table, [partition], "law") == 1
    assert changed(shop.digests(), copy.digests())
    copy.run(partition.day, partition.day, [partition.segment])
    assert changed(shop.digests(), copy.digests()) == {}


def test_a_missing_predecessor_of_the_state_is_refused_by_name(copy: Shop) -> None:
    """The chain of states never starts over in silence: the message names the partition and the command."""
    before = Partition(FIRST_RUN_DAY - timedelta(days=1), copy.segments[0])
    requested = Partition(FIRST_RUN_DAY, copy.segments[0])
    copy.workspace.lake.drop(INTEREST_STATE, [before], "law")
    existing = copy.workspace.lake.published(INTEREST_STATE)[requested]
    (message,) = copy.materialise(["interest_state"], [requested])
    day = before.day.isoformat()
    assert f"interest_state has no partition {day}|{before.segment}" in message
    assert f"shift-assets run --from {day} --to {day} --segment {before.segment}" in message
    assert copy.workspace.lake.published(INTEREST_STATE)[requested] == existing


def test_a_file_delivered_twice_changes_only_the_accounts(shop: Shop, copy: Shop) -> None:
    """Every row of a copied file is rejected as a duplicate; nothing downstream of cleaning moves."""
    file = sorted(folder_of(copy, LATE_DAY).glob("events-*"))[0]
    shutil.copyfile(file, file.with_name("zz-again.jsonl.gz"))
    rows = copy.workspace.lake.read(REJECTED_EVENTS).num_rows
    copy.run(LATE_DAY - timedelta(days=LATENESS_DAYS), LAST_DAY)
    different = changed(shop.digests(), copy.digests())
    assert set(different) <= {"rejected_events", "deliveries", "quality_verdicts"}
    again = copy.workspace.lake.read(REJECTED_EVENTS, columns=["source_file", "source_row", "reason"]).to_pylist()
    copied = [row for row in again if row["source_file"].endswith("zz-again.jsonl.gz")]
    assert len(again) == rows + len(copied)
    whole = sorted(row["source_row"] for row in copied)
    assert whole == list(range(1, len(whole) + 1))
    assert Counter(row["reason"] for row in copied).most_common(1)[0][0] == "duplicate"
    (account,) = {row["file_rows"] for row in _accounts(copy, "zz-again")}
    assert account == len(whole)


def test_a_late_file_changes_only_its_day_and_what_follows_from_it(shop: Shop, copy: Shop) -> None:
    """An event of yesterday that arrives today changes the user's segment, from yesterday on, and nothing else."""
    segment = "uk"
    row = _an_event_of(copy, segment, LATE_DAY)
    late = folder_of(copy, LAST_DAY) / "late-again.jsonl.gz"
    late.write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    copy.run(LAST_DAY - timedelta(days=LATENESS_DAYS), LAST_DAY)
    different = changed(shop.digests(), copy.digests())
    assert {partition.segment for partitions in different.values() for partition in partitions} == {segment}
    assert min(partition.day for partitions in different.values() for partition in partitions) == LATE_DAY
    yesterday = {Partition(LATE_DAY, segment)}
    assert different[CLEAN_EVENTS.name] == different[DELIVERIES.name] == different[INTEREST_SERIES.name] == yesterday
    assert different[INTEREST_STATE.name] == yesterday | {Partition(LAST_DAY, segment)}
    assert REJECTED_EVENTS.name not in different
    assert [(account["rows"], account["file_rows"]) for account in _accounts(copy, "late-again")] == [(1, 1)]


def _an_event_of(shop: Shop, segment: str, day: date) -> dict[str, object]:
    """A delivered row that repeats one of the day's, by a user of the segment, at another time of the day."""
    found = shop.workspace.lake.read(CLEAN_EVENTS, first_day=day, last_day=day, segments=[segment]).to_pylist()[0]
    lines = gzip.decompress((shop.workspace.settings.landing / found["source_file"]).read_bytes()).split(b"\n")
    row: dict[str, object] = json.loads(lines[found["source_row"] - 1])
    noon = datetime(day.year, day.month, day.day, 12, 34, 56, tzinfo=ZoneInfo(SIMULATION.timezone))
    return {**row, "event_ts": int(noon.timestamp() * 1000)}


def _accounts(shop: Shop, name: str) -> list[dict[str, int]]:
    return [row for row in shop.workspace.lake.read(DELIVERIES).to_pylist() if name in row["source_file"]]
