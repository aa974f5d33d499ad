"""A range run of every stage on a simulated log: wall time by stage, and the share of process start-up.

    python benchmarks/pipeline.py [--events 1000000] [--days 30] [--users 4000] [--engine embedded|spark]

Prints Markdown. The run is a process of its own, as `shift-assets run` is; start-up is the time from the start of
that process to the start of its first step, and the imports that steps pay for on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from report import recorded
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.writer import simulate
from shift_assets.workspace.home import create

FIRST_DAY = date(2026, 1, 1)
HEAVY_IMPORTS = ("torch", "great_expectations", "sklearn.cluster", "matplotlib.figure", "numba", "scipy.sparse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--users", type=int, default=4_000)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--engine", choices=("embedded", "spark"), default="embedded")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="shift-pipeline-"))
    try:
        simulation = Simulation(
            users=asked.users, items=asked.items, days=asked.days, events=asked.events, first_day=FIRST_DAY
        )
        written = simulate(simulation, folder)
        create(folder, folder / "source.yaml", first_day=FIRST_DAY, last_day=FIRST_DAY + timedelta(days=asked.days - 1))
        imports = _seconds([sys.executable, "-c", "import shift_assets.definitions"])
        bare = _seconds([sys.executable, "-c", "pass"])
        heavy = _seconds([sys.executable, "-c", f"import {', '.join(HEAVY_IMPORTS)}"]) - bare
        environment = {**os.environ, "SHIFT_ENGINE": asked.engine}
        command = [sys.executable, "-m", "shift_assets", "run", "--home", str(folder), "--json"]
        command += ["--from", FIRST_DAY.isoformat(), "--to", (FIRST_DAY + timedelta(days=asked.days - 1)).isoformat()]
        started = time.monotonic()
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        wall = time.monotonic() - started
        if result.returncode:
            sys.exit(result.stderr)
        seconds = json.loads(result.stdout)["seconds"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    steps = sum(seconds.values())
    segments = len(simulation.segments) + 1
    size = f"{written.counts.events:,} events, {asked.days} days x {segments} segments"
    print(f"{size}, engine {asked.engine}: {wall:.0f} s")
    print("\n| stage | seconds | share |\n|---|---|---|")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"| {name} | {spent:.1f} | {spent / wall:.0%} |")
    print(f"| outside steps: start, plan, events | {wall - steps:.1f} | {(wall - steps) / wall:.0%} |")
    print(f"\nImport of the definitions: {imports:.2f} s. Libraries that steps import on first use: {heavy:.1f} s.")
    start_up = imports + heavy
    print(f"Process start-up: {start_up:.1f} s, {start_up / wall:.0%} of the run; with a process per step it would be")
    print(f"about {imports * len(seconds) + heavy:.0f} s, {imports * len(seconds) / wall:.0%} more.")


def _seconds(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started


if __name__ == "__main__":
    with recorded("02_pipeline"):
        main()
