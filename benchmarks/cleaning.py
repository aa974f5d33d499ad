"""Cleaning against plain DuckDB on the same files: `python benchmarks/cleaning.py --events 1000000 5000000`.

Plain DuckDB does the least that a pipeline could do: `read_json`, `distinct`, a Parquet file per day. It parses
leniently, rejects nothing, keeps no raw bytes, makes no pseudonym and accounts for nothing. The engines write the
same Parquet files after cleaning. Every measurement is a process of its own; memory (largest sum of resident bytes,
shared pages divided among those who share them) and processor time are those of the process, its children and, for
Spark, the server and its workers. Processor time is what compares where others use the machine too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import duckdb

from report import recorded
from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.category_timeline import CategoryTimeline
from shift_assets.ingest.cleaning.clean import clean
from shift_assets.ingest.cleaning.engines.local_spark import server_folder, stop_local_server
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.source.shipped import load_source
from shift_assets.settings.root import Settings
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.writer import Summary, simulate

DAYS = 20
PLAIN = "plain DuckDB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--engines", nargs="+", choices=["embedded", "spark"], default=["embedded", "spark"])
    given = parser.parse_args()
    print("| events | MB | way | seconds | events/s | CPU s | CPU to plain DuckDB | peak MiB |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="cleaning ") as folder:
        if "spark" in given.engines:
            warm_up(Path(folder) / "warm")
        for events in given.events:
            log = make_log(Path(folder) / str(events), events)
            plain_cpu = 0.0
            for way in [PLAIN, *given.engines]:
                seconds, cpu, peak = measured(way, log)
                plain_cpu = plain_cpu or cpu
                print(
                    f"| {log.counts.rows:,} | {log.counts.bytes / 1e6:,.0f} | {way} | {seconds:.1f} "
                    f"| {log.counts.rows / seconds:,.0f} | {cpu:.1f} | {cpu / plain_cpu:.1f} | {peak / 2**20:,.0f} |",
                    flush=True,
                )
    if "spark" in given.engines:
        stop_local_server()


def make_log(home: Path, events: int) -> Summary:
    """A simulated log of about so many events on DAYS days: one gzip file a day and block of users, some dirt."""
    users = max(1_000, events // 200)
    simulation = Simulation(
        users=users, events=events, days=DAYS, items=5_000, dirt_share=0.03, users_per_file=max(users // 2, 1)
    )
    return simulate(simulation, home, workers=2)


def warm_up(home: Path) -> None:
    """Start the Spark server before the clock runs: it is started once, not once a run."""
    measured("spark", make_log(home, 20_000))


def measured(way: str, log: Summary) -> tuple[float, float, int]:
    """Seconds, processor seconds and peak bytes of one way of cleaning `log`, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_timed, args=(way, log, sender))
    server = [server_pid()] if way == "spark" else []
    before = tree(server).cpu_seconds
    process.start()
    sender.close()
    with watched([process.pid or 0, *server]) as largest:
        seconds, cpu = receiver.recv()
    process.join()
    return seconds, cpu + tree(server).cpu_seconds - before, largest()


def _timed(way: str, log: Summary, answer: multiprocessing.connection.Connection) -> None:
    start = time.perf_counter()
    rows = plain(log) if way == PLAIN else engine(way, log)
    used = os.times()
    answer.send((time.perf_counter() - start, sum(used[:4])))
    expected = log.counts.events
    if way != PLAIN and rows != expected:
        raise AssertionError(f"{way}: {rows} clean rows of {expected} events")


def plain(log: Summary) -> int:
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    files = str(log.landing / "events" / "*" / "*.gz")
    rows = connection.read_json(files, format="newline_delimited", ignore_errors=True).distinct()
    write(rows, "epoch_ms(try_cast(event_ts as bigint))::date", log.target / "plain")
    return 0


def engine(name: str, log: Summary) -> int:
    source = load_source(log.source)
    settings = Settings(home=log.target)
    days = [log.first_day + timedelta(days=number) for number in range(DAYS)]
    chunks = clean(
        ParseContext(source, b"k" * 32, settings.lateness_days, log.landing),
        days,
        source.segment_keys,
        bots=settings.bots,
        categories=CategoryTimeline(CategoryModel("delivered"), log.first_day),
        engine="spark" if name == "spark" else "embedded",
        spark_remote=settings.spark.remote,
        staging=settings.staging,
    )
    count = 0
    for number, chunk in enumerate(chunks):
        connection = duckdb.connect()
        connection.execute("set enable_progress_bar = false")
        write(connection.from_arrow(chunk.clean), "day", log.target / f"{name}-{number}")
        connection.close()
        count += chunk.clean.num_rows
    return count


def write(rows: duckdb.DuckDBPyRelation, day: str, folder: Path) -> None:
    """A Parquet file per day."""
    rows.project(f"*, {day} as folder_day").write_parquet(str(folder), partition_by=["folder_day"])


class Tree(NamedTuple):
    """What some processes and all below them hold (shared pages in proportion) and have used."""

    resident_bytes: int
    cpu_seconds: float


def server_pid() -> int:
    """Process of the local Spark server; 0 where none runs."""
    found = server_folder() / "server.json"
    return int(json.loads(found.read_text())["pid"]) if found.exists() else 0


@contextmanager
def watched(roots: list[int]) -> Iterator[Callable[[], int]]:
    """Samples the resident bytes of process trees five times a second; the answer is the largest sum."""
    done, largest = Event(), [0]

    def watch() -> None:
        while not done.wait(0.2):
            largest[0] = max(largest[0], tree(roots).resident_bytes)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: largest[0]
    finally:
        done.set()
        watcher.join()


def tree(roots: list[int]) -> Tree:
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            seconds[int(folder.name)] = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    family = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return Tree(sum(proportional_bytes(pid) for pid in family), sum(seconds.get(pid, 0) for pid in family))


def proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    with recorded("01_cleaning"):
        main()
