"""Events per second of the simulator: `python benchmarks/simulate.py --users 200000 --days 20 --workers 2`."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from report import recorded
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.writer import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--format", default="jsonl.gz")
    given = parser.parse_args()
    simulation = Simulation(users=given.users, days=given.days, format=given.format)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        summary = simulate(simulation, Path(folder), workers=given.workers)
        seconds = time.perf_counter() - start
    counts = summary.counts
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    largest = max(part.ru_maxrss for part in usage) / 1024
    busy = sum(part.ru_utime + part.ru_stime for part in usage)
    print(
        f"{counts.events:,} events, {counts.bytes / 1e6:,.0f} MB in {seconds:.1f} s with {given.workers} workers: "
        f"{counts.events / seconds:,.0f} events/s, {counts.events / busy:,.0f} per second of one core; "
        f"target was {simulation.target_events:,.0f}; "
        f"largest process {largest:,.0f} MiB"
    )


if __name__ == "__main__":
    with recorded("04_simulator"):
        main()
