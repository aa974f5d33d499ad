"""Forecasts of the coming week against last week and the four-week mean, on the log of any installation.

    python benchmarks/forecasts.py HOME [HOME ...]

Prints Markdown. Every member is evaluated on weeks it has not seen; each look back is that of the weekly report. A home
needs landed files only: what is not in its lake is made in memory. Also: processor time of a daily partition.
"""

from __future__ import annotations

import argparse
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from report import recorded
from shift_assets.evaluate.forecasts import forecast_report
from shift_assets.forecast.interest_forecasts import forecast_errors, interest_forecasts, last_refit
from shift_assets.outcomes.forecasts import forecast_quality
from shift_assets.settings.root import ForecastSettings, Settings
from shift_assets.workspace.home import open_workspace
from shift_assets.workspace.landed import load_series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, nargs="+")
    for home in parser.parse_args().home:
        workspace = open_workspace(home)
        print(f"\n### {workspace.source.name}\n")
        measure(load_series(workspace), workspace.settings)


def measure(series: pa.Table, settings: Settings) -> None:
    """Prints the table of members per segment, then what a partition costs."""
    print("| segment | model | rows (looks) | MSE | MAE | R² | users' weeks inside the band | mean band |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for row in forecast_report(series, settings.forecast, settings.seed, refit_weekday=settings.schedule.refit_weekday):
        explained = "–" if row["r2"] is None else f"{row['r2']:.3f}"
        print(
            f"| {row['segment']} | {row['model']} | {row['n_rows']:,} ({row['looks']}) | {row['mse']:.5f} "
            f"| {row['mae']:.4f} | {explained} | {row['coverage']:.3f} | {row['band']:.2f} |"
        )
    print()
    for segment in sorted(pc.unique(series["segment"]).to_pylist()):
        print(f"- {segment}: {cost(series.filter(pc.equal(series['segment'], segment)), segment, settings)}")


def cost(series: pa.Table, segment: str, settings: Settings) -> str:
    """Processor seconds of the newest week's partitions, and what the errors of the week after the first were."""
    forecast: ForecastSettings = settings.forecast
    weekday = settings.schedule.refit_weekday
    newest = last_refit(pc.max(series["day"]).as_py() - timedelta(days=7), weekday)
    forecast_quality(series, newest, segment, forecast, settings.seed, refit_weekday=weekday)  # pays for the imports
    start = time.process_time()
    forecast_quality(series, newest, segment, forecast, settings.seed, refit_weekday=weekday)
    weekly = time.process_time() - start
    start = time.process_time()
    found = interest_forecasts(series, [newest], segment, forecast, settings.seed, refit_weekday=weekday)
    daily = time.process_time() - start
    errors = forecast_errors(found, series)["forecast_error"]
    outside = pc.sum(pc.greater(errors, 1.0)).as_py() or 0
    return (
        f"`interest_forecasts` {daily:.2f} s for a day ({found.num_rows:,} rows), `forecast_quality` {weekly:.1f} s a "
        f"week; of {len(errors)} users who came in the week after {newest}, {outside} fell outside their bands"
    )


if __name__ == "__main__":
    with recorded("10_forecasts"):
        main()
