"""Commands that materialise days: run, and demo on the shipped log."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shift_assets.cli import logs
from shift_assets.cli.options import (
    FromOption,
    HomeOption,
    JsonOption,
    ToOption,
    home_of,
    require_order,
    require_segments,
)
from shift_assets.cli.render import (
    PRINTED,
    print_error,
    print_json,
    print_line,
    print_note,
    print_rows,
    print_run_report,
    progress,
)
from shift_assets.cli.setup import today_in
from shift_assets.errors import UserError

if TYPE_CHECKING:
    from shift_assets.workspace.workspace import Workspace

_log = logging.getLogger(__name__)
DEMO_DAYS, DEMO_HISTORY_DAYS = 28, 336
DEMO_LAST_DAY = date(2011, 12, 9)
"""The last day of the shipped log."""


def demo(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Run every stage on the real log that ships with the package (Online Retail II).

    Example: `shift-assets demo`
    """
    from shift_assets.ingest.landing import land as land_file
    from shift_assets.ingest.source.sample import sample_log
    from shift_assets.workspace import home as homes

    started = time.monotonic()
    folder = home_of(home)
    first = DEMO_LAST_DAY - timedelta(days=DEMO_DAYS - 1)
    workspace = homes.create(
        folder, "online_retail_ii", first_day=first - timedelta(days=DEMO_HISTORY_DAYS), last_day=DEMO_LAST_DAY
    )
    logs.log_to(folder)
    with progress("landing the shipped log") as on_progress:
        landed = land_file(sample_log(), workspace.settings.landing, workspace.source)
        on_progress(f"landed {sum(landed.rows_per_day.values()):,} rows in {len(landed.rows_per_day)} day folders")
    _run(folder, first, DEMO_LAST_DAY, as_json=as_json, started=started)


def run(
    first: FromOption,
    last: ToOption,
    home: HomeOption = None,
    segment: Annotated[str | None, typer.Option(help="One segment; else all.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE", help="A table to materialise, with what it needs and no more; repeat for more."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Materialise every stage for a range of days through Dagster, after the history that the range needs.

    With `--only shift_alerts`, say, that table and what it is made of; no model, no recommendation, no BI file.

    Example: `shift-assets run --from 2011-11-12 --to 2011-12-09`
    """
    started = time.monotonic()
    _run(home_of(home), first, last, segment=segment, only=only or [], as_json=as_json, started=started)


def _run(
    folder: Path,
    first: date,
    last: date,
    *,
    as_json: bool,
    started: float,
    segment: str | None = None,
    only: Sequence[str] = (),
) -> None:
    from shift_assets.definitions import build_definitions
    from shift_assets.defs.range_run import run_range
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.run_report import build_run_report, rows_by_table

    require_order(first, last)
    workspace = homes.open_workspace(folder)
    workspace = homes.extend_calendar(workspace, _earliest(workspace, first), last, today_in(workspace.source.timezone))
    calendar = workspace.settings.calendar
    if calendar.first_day and first < calendar.first_day:
        raise UserError(
            f"--from {first} lies before the calendar's first day {calendar.first_day}; "
            f"set calendar.first_day in {folder / 'settings.yaml'}"
        )
    known = list(workspace.source.segment_keys)
    require_segments([segment] if segment else [], known)
    segments = [segment] if segment else known
    with progress("starting") as on_progress:
        report = run_range(
            build_definitions(workspace), workspace, first, last, segments, only=only, on_progress=on_progress
        )
    if not report.success:
        for message in report.errors:
            _log.error(message, extra=PRINTED)
            print_error("failed", message)
        print_note(f"inspect the run: shift-assets ui --home {shlex.quote(str(folder))}")
        if (log_file := logs.log_file()) is not None:
            print_note(f"tracebacks: {log_file}")
        raise typer.Exit(1)
    if only:
        rows = rows_by_table(workspace, report.assets, first, last, segments)
        if as_json:
            days = {"first_day": first, "last_day": last, "segments": segments}
            print_json({**days, "only": only, "rows": rows, "seconds": report.seconds})
            return
        print_rows(rows)
    else:
        summary = build_run_report(workspace, first, last, segments)
        if as_json:
            print_json({**summary.as_json(), "seconds": report.seconds})
            return
        print_run_report(workspace, summary)
    if report.history_from:
        print_line(f"History from {report.history_from} to {first - timedelta(days=1)} was materialised before.")
    print_line(f"{time.monotonic() - started:.0f} s in all.")


def _earliest(workspace: Workspace, first: date) -> date:
    """The first landed day where no calendar is set yet, else `first`."""
    from shift_assets.ingest.readers.source_files import list_landing

    if workspace.settings.calendar.first_day is not None:
        return first
    return min((file.folder_day for file in list_landing(workspace.settings.landing).files), default=first)
