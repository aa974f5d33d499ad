from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from shift_assets.contracts.cleaning import REJECTED_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.ingest.quarantine import rejected_rows, replay
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.storage.fence import Fence
from shift_assets.storage.lake import Lake
from shift_assets_tests.ingest.cleaned_landing import cleaned
from shift_assets_tests.ingest.dirty_data import DAY, JSON_SOURCE, NOON, context_of, deliver, good_line, source_of

NEXT = DAY + timedelta(days=1)


@dataclass(frozen=True)
class Shop:
    """A lake and the current parse context."""

    lake: Lake
    parse_context: ParseContext


def shop_of(home: Path, source: str = JSON_SOURCE) -> Shop:
    context = context_of(home / "landing", source_of(home / "landing", source))
    return Shop(Lake(home / "lake", Fence(home / "fence.sqlite")), context)


def publish(shop: Shop) -> None:
    """Clean DAY and the day after, and publish what was rejected."""
    done = cleaned(shop.parse_context, [DAY, NEXT])
    shop.lake.publish(REJECTED_EVENTS, done.rejected, shop.lake.claim(REJECTED_EVENTS, done.partitions, "test"))


def fill(shop: Shop) -> None:
    lines = [
        good_line(action="wish"),
        good_line(action="stare"),
        good_line(),
        good_line(),
        good_line(user="bob", action="wish"),
    ]
    deliver(shop.parse_context.landing, "a.jsonl", b"\n".join(lines) + b"\n")
    deliver(shop.parse_context.landing, "b.jsonl", good_line(action="wish", t=NOON) + b"\n", NEXT)
    deliver(shop.parse_context.landing, "c.jsonl", b"no json\n")
    publish(shop)


def test_rejected_rows_are_found_by_reason_day_and_file(tmp_path: Path) -> None:
    """Each filter narrows the rows; without one all rejected rows are shown."""
    shop = shop_of(tmp_path)
    fill(shop)
    assert rejected_rows(shop.lake).num_rows == 6
    assert rejected_rows(shop.lake, reason="unknown_behavior").num_rows == 4
    assert rejected_rows(shop.lake, first_day=NEXT).num_rows == 0, "b.jsonl's event is of the day before"
    assert rejected_rows(shop.lake, last_day=DAY, source_file=f"events/day={DAY}/c.jsonl").num_rows == 1


def test_a_changed_source_recovers_what_it_now_accepts(tmp_path: Path) -> None:
    """Replay names the partitions with rows that the source now accepts, and how many; a run then accepts them."""
    fill(shop_of(tmp_path))
    shop = shop_of(tmp_path)
    assert replay(shop.lake, shop.parse_context, DAY, NEXT) == {}
    shop = shop_of(tmp_path, JSON_SOURCE.replace("pv: view", "pv: view, wish: favorite"))
    recovered = replay(shop.lake, shop.parse_context, DAY, NEXT)
    assert sum(recovered.values()) == 3
    before = {Partition(row["day"], row["segment"]) for row in rejected_rows(shop.lake).to_pylist()}
    assert set(recovered) <= before
    publish(shop)
    assert sorted(rejected_rows(shop.lake)["reason"].to_pylist()) == [
        "duplicate",
        "duplicate",
        "malformed",
        "unknown_behavior",
    ]
    assert replay(shop.lake, shop.parse_context, DAY, NEXT) == {}


def test_a_row_that_changes_its_day_reruns_both_days(tmp_path: Path) -> None:
    """A row rejected in its folder's day for its time belongs to its own day once the time is read: both run again."""
    shop = shop_of(tmp_path)
    deliver(shop.parse_context.landing, "a.jsonl", good_line(t=NOON * 1000) + b"\n", NEXT)
    publish(shop)
    repaired = shop_of(tmp_path, JSON_SOURCE.replace("unit: s", "unit: ms"))
    recovered = replay(repaired.lake, repaired.parse_context, DAY, NEXT)
    assert {partition.day: rows for partition, rows in recovered.items()} == {DAY: 1, NEXT: 0}


def test_a_file_no_longer_landed_recovers_nothing(tmp_path: Path) -> None:
    """What cannot be read again cannot be recovered, and is no error."""
    fill(shop_of(tmp_path))
    for path in (tmp_path / "landing").glob("events/*/*"):
        path.unlink()
    shop = shop_of(tmp_path, JSON_SOURCE.replace("pv: view", "pv: view, wish: favorite"))
    assert replay(shop.lake, shop.parse_context, DAY, NEXT) == {}


def test_a_repaired_file_recovers_all_its_rows(tmp_path: Path) -> None:
    """A file that was unreadable as a whole, then replaced by a good one, counts every row."""
    shop = shop_of(tmp_path)
    file = deliver(shop.parse_context.landing, "a.jsonl.gz", b"\x1f\x8bbroken")
    publish(shop)
    assert rejected_rows(shop.lake)["reason"].to_pylist() == ["unreadable_file"]
    (tmp_path / "landing" / file.path).write_bytes(good_line() + b"\n" + good_line(user="bob") + b"\n")
    assert sum(replay(shop.lake, shop.parse_context, DAY, DAY).values()) == 2
