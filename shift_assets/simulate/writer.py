"""Write a simulated log: the landing folder, the labels of the planted changes, and its source YAML."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import yaml

from shift_assets.arrays import BytesArray
from shift_assets.errors import UserError
from shift_assets.simulate import dirty_rows as dirty
from shift_assets.simulate.event_files import (
    COLUMNS,
    catalogue_fragments,
    csv_lines,
    event_table,
    gzip_bytes,
    json_lines,
    parquet_bytes,
    user_fragments,
)
from shift_assets.simulate.population import (
    KINDS,
    LABELS,
    Block,
    build_block,
    labels_table,
    platform_labels,
    user_ids,
    users_table,
)
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.traffic import Traffic, TrafficCalibration, block_traffic, calibrate, day_random
from shift_assets.simulate.world import World, build_world, items_table, promotion_days

SOURCE_NAME = "simulated"
_BLOCKS_IN_MEMORY = 16


class SimulationError(UserError):
    """The target folder cannot be written to; the message names it and says what to do."""


@dataclass(frozen=True)
class FileCounts:
    """Counts of what was written, for example of one block and day."""

    events: int = 0  # distinct events, late ones included
    rows: int = 0  # rows written: events, duplicates and malformed ones
    malformed: int = 0
    duplicates: int = 0
    late: int = 0
    files: int = 0
    bytes: int = 0

    def __add__(self, other: FileCounts) -> FileCounts:
        mine, theirs = asdict(self), asdict(other)
        return FileCounts(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class Summary:
    """Files and counts of a simulated log."""

    target: Path
    landing: Path
    labels: Path
    source: Path
    first_day: date
    last_day: date
    counts: FileCounts
    users_by_kind: dict[str, int] = field(default_factory=dict)
    promotion_days: list[date] = field(default_factory=list)


class _Writer:
    """Simulates and writes the events of any block and day; there is one in each worker process."""

    def __init__(self, simulation: Simulation, calibration: TrafficCalibration, landing: Path) -> None:
        self.simulation, self.calibration, self.landing = simulation, calibration, landing
        self.world = build_world(simulation)
        self.fragments = catalogue_fragments(self.world)
        self.zone = ZoneInfo(simulation.timezone)
        self.block = lru_cache(_BLOCKS_IN_MEMORY)(self._block)

    def _block(self, number: int) -> tuple[Block, BytesArray, list[str]]:
        block = build_block(self.simulation, self.world, number)
        return block, user_fragments(self.simulation, block), user_ids(self.simulation, block)

    def write(self, day: int, number: int) -> FileCounts:
        """Write the files of block `number` for the day at index `day`."""
        simulation = self.simulation
        block, users, ids = self.block(number)
        begin, end = self._second(day), self._second(day + 1)
        random = day_random(simulation, day, number)
        length = (end - begin) * 1000
        traffic = block_traffic(
            simulation, self.world, block, self.calibration, day=day, day_milliseconds=length, random=random
        )
        none = np.zeros(0, np.int64)
        dirt = dirty.Dirt(none, none, none, none)
        if simulation.dirt_share:
            left = simulation.days - 1 - day
            dirt = dirty.choose_dirt(random, len(traffic), simulation.dirt_share, left, simulation.lateness_days)
        broken = dirty.take(traffic, dirt.malformed)
        data = self._bytes(
            dirty.on_time(traffic, dirt) if simulation.dirt_share else traffic, users, ids, begin, broken
        )
        size = self._save(day, f"events-{number:04d}", data)
        files = 1
        for delay in np.unique(dirt.delay_days).tolist():
            late = dirty.take(traffic, dirt.late[dirt.delay_days == delay])
            data = self._bytes(late, users, ids, begin, dirty.take(traffic, none))
            size += self._save(day + delay, f"late-{self._day(day)}-{number:04d}", data)
            files += 1
        rows = len(traffic) + len(dirt.malformed) + len(dirt.duplicate)
        return FileCounts(len(traffic), rows, len(dirt.malformed), len(dirt.duplicate), len(dirt.late), files, size)

    def _bytes(self, traffic: Traffic, users: BytesArray, ids: list[str], begin: int, broken: Traffic) -> bytes:
        wanted = self.simulation.format
        bad = event_table(self.world, ids, broken, begin) if len(broken) else None
        if wanted in ("jsonl", "jsonl.gz"):
            data = json_lines(self.fragments, users, traffic, begin)
            data += dirty.broken_json(bad) if bad else b""
            return gzip_bytes(data) if wanted == "jsonl.gz" else data
        good = event_table(self.world, ids, traffic, begin)
        if wanted == "csv":
            return csv_lines(good) + (dirty.broken_csv(bad) if bad else b"")
        return parquet_bytes(pa.concat_tables([good, dirty.break_rows(bad)]) if bad else good)

    def _save(self, day: int, stem: str, data: bytes) -> int:
        folder = self.landing / "events" / f"day={self._day(day)}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}.{self.simulation.format}"
        unfinished = folder / f".{path.name}.part"
        unfinished.write_bytes(data)
        unfinished.replace(path)
        return len(data)

    def _day(self, index: int) -> date:
        return self.simulation.first_day + timedelta(days=index)

    def _second(self, day: int) -> int:
        return int(datetime.combine(self._day(day), time(), self.zone).timestamp())


_writer: _Writer | None = None


def _start_worker(simulation: Simulation, calibration: TrafficCalibration, landing: Path) -> None:
    global _writer  # noqa: PLW0603 - a pool's tasks reach their process's state only this way
    _writer = _Writer(simulation, calibration, landing)


def _work(task: tuple[int, int]) -> FileCounts:
    assert _writer is not None  # noqa: S101
    return _writer.write(*task)


def simulate(
    simulation: Simulation,
    target: Path,
    *,
    workers: int = 2,
    on_file: Callable[[date, FileCounts], None] | None = None,
) -> Summary:
    """Write a simulated log: `landing/`, `labels.parquet` and `source.yaml` below `target`.

    The bytes depend on the settings only, not on `workers`. Memory is bounded by `users_per_file`.

    Args:
        simulation: The log.
        target: Folder to write to.
        workers: Processes; several are spawned, so a script has to call this below `if __name__ == "__main__"`.
        on_file: Called with the day and counts of each file.

    Raises:
        SimulationError: `target` holds events already.
    """
    landing = target / "landing"
    if (landing / "events").exists() and any((landing / "events").iterdir()):
        raise SimulationError(f"{landing / 'events'} holds events already; choose another folder or delete it")
    landing.mkdir(parents=True, exist_ok=True)
    world = build_world(simulation)
    by_kind = _write_tables(simulation, world, target)
    source = target / "source.yaml"
    source.write_text(
        yaml.safe_dump(source_description(simulation), sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    calibration = calibrate(simulation, world)
    counts = FileCounts()
    tasks = list(product(range(simulation.days), range(simulation.blocks)))
    for (day, _), written in zip(tasks, _run(simulation, calibration, landing, tasks, workers), strict=True):
        counts = counts + written
        if on_file:
            on_file(simulation.first_day + timedelta(days=day), written)
    return Summary(
        target=target,
        landing=landing,
        labels=target / "labels.parquet",
        source=source,
        first_day=simulation.first_day,
        last_day=simulation.last_day,
        counts=counts,
        users_by_kind=by_kind,
        promotion_days=promotion_days(simulation, world),
    )


def source_description(simulation: Simulation) -> dict[str, Any]:
    """The complete source YAML of the written files."""
    is_csv = simulation.format == "csv"
    events: dict[str, Any] = {"format": "jsonl" if simulation.format.startswith("jsonl") else simulation.format}
    if is_csv:
        events["csv"] = {"delimiter": ",", "header": False, "columns": list(COLUMNS)}
    events |= {
        "map": {name: name for name in COLUMNS},
        "timestamp": {"unit": "ms"},
        "identity": ["user_id", "item_id", "behavior", "event_ts"],
    }
    same = {name: name for name in ("user_id", "country", "age", "gender")}
    return {
        "source": SOURCE_NAME,
        "timezone": simulation.timezone,
        "events": events,
        "items": {
            "format": "parquet",
            "map": {"item_id": "item_id", "category": "category", "price": "price", "text": "title"},
        },
        "users": {"format": "parquet", "map": same},
        "segments": {
            "by": "column",
            "table": "users",
            "column": "country",
            "values": {name: list(countries) for name, countries in simulation.segments.items()},
            "other": simulation.other_segment,
        },
        "categories": {"from": "delivered"},
    }


def _run(
    simulation: Simulation,
    calibration: TrafficCalibration,
    landing: Path,
    tasks: Iterable[tuple[int, int]],
    workers: int,
) -> Iterator[FileCounts]:
    if workers <= 1:
        writer = _Writer(simulation, calibration, landing)
        yield from (writer.write(*task) for task in tasks)
        return
    # Spawned, not forked: Arrow's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (simulation, calibration, landing)) as pool:
        yield from pool.map(_work, tasks)


def _write_tables(simulation: Simulation, world: World, target: Path) -> dict[str, int]:
    """Write items, users and labels, and return the number of users by kind of planted change."""
    items, users = target / "landing" / "items", target / "landing" / "users"
    items.mkdir(exist_ok=True)
    users.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(items_table(world), items / "items.parquet")
    totals = np.zeros(len(KINDS), np.int64)
    first = users_table(simulation, build_block(simulation.model_copy(update={"users_per_file": 1}), world, 0))
    with (
        pyarrow.parquet.ParquetWriter(users / "users.parquet", first.schema) as users_file,
        pyarrow.parquet.ParquetWriter(target / "labels.parquet", LABELS) as labels_file,
    ):
        labels_file.write_table(platform_labels(simulation, world))
        for number in range(simulation.blocks):
            block = build_block(simulation, world, number)
            users_file.write_table(users_table(simulation, block))
            labels_file.write_table(labels_table(simulation, world, block))
            totals += np.bincount(block.kind, minlength=len(KINDS))
    return dict(zip(KINDS, totals.tolist(), strict=True))
