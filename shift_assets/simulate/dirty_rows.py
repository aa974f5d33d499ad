"""Malformed, duplicate and late rows, to exercise the quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Int64Array
from shift_assets.simulate.event_files import csv_lines
from shift_assets.simulate.traffic import Traffic


@dataclass(frozen=True)
class Dirt:
    """Events of a block and day with a defect, as indices into its traffic."""

    malformed: Int64Array  # written once more, malformed
    duplicate: Int64Array  # written twice
    late: Int64Array  # written `delay_days` days late instead
    delay_days: Int64Array


def choose_dirt(random: np.random.Generator, events: int, share: float, days_left: int, lateness_days: int) -> Dirt:
    """Choose a `share` of the events, a third each malformed, duplicate and late; never late beyond the last day."""
    chosen = random.permutation(events)[: round(events * share)]
    malformed, duplicate, late = np.array_split(chosen, 3)
    longest = min(lateness_days, days_left)
    if longest < 1:
        late = late[:0]
    delay = random.integers(1, max(longest, 1) + 1, len(late))
    return Dirt(np.sort(malformed), np.sort(duplicate), np.sort(late), delay)


def take(traffic: Traffic, index: Int64Array) -> Traffic:
    return Traffic(traffic.user[index], traffic.item[index], traffic.action[index], traffic.milliseconds[index])


def on_time(traffic: Traffic, dirt: Dirt) -> Traffic:
    """The rows written on their own day: without late ones, and with duplicates next to the original row."""
    times = np.ones(len(traffic), np.int64)
    times[dirt.duplicate] = 2
    times[dirt.late] = 0
    return take(traffic, np.repeat(np.arange(len(traffic)), times))


def break_rows(table: pa.Table) -> pa.Table:
    """Give each row one of three defects in turn: no user, an unknown behaviour, an impossible time."""
    defect = pa.array(np.arange(len(table)) % 3)
    broken = {
        "user_id": (0, pa.scalar(None, pa.string())),
        "behavior": (1, pa.scalar("teleport")),
        "event_ts": (2, pa.scalar(-1, pa.int64())),
    }
    for name, (which, value) in broken.items():
        column = table.column_names.index(name)
        table = table.set_column(column, name, pc.if_else(pc.equal(defect, which), value, table[name]))
    return table


def broken_json(table: pa.Table) -> bytes:
    """`break_rows` as JSON lines, every second one truncated."""
    lines = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in break_rows(table).to_pylist()]
    return _truncate_alternate_lines(line.encode() for line in lines)


def broken_csv(table: pa.Table) -> bytes:
    """`break_rows` as CSV, every second line truncated."""
    return _truncate_alternate_lines(csv_lines(break_rows(table)).splitlines())


def _truncate_alternate_lines(lines: Iterable[bytes]) -> bytes:
    return b"".join((line[: len(line) // 2] if k % 2 else line) + b"\n" for k, line in enumerate(lines))
