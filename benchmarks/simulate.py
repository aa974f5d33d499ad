"""Events per second of the simulator: `python benchmarks/simulate.py --users 200000 --days 20 --workers 2`."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from shift_assets.simulate import Simulation, simulate


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
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(
        f"{counts.events:,} events, {counts.bytes / 1e6:,.0f} MB in {seconds:.1f} s with {given.workers} workers: "
        f"{counts.events / seconds:,.0f} events/s; target was {simulation.target_events:,.0f}; "
        f"largest process {largest:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
