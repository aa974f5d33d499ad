"""The command line: `shift-assets`, also `python -m shift_assets`.

What belongs here: names, options, help and printing. Exit codes: 0 done, 1 the work failed, 2 the call was wrong.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.text import Text

from shift_assets.cli.evaluate import evaluate, print_run_report
from shift_assets.cli.evaluate_recommendations import reactions, recommendations, sequences
from shift_assets.cli.options import FromOption, HomeOption, JsonOption, ToOption, check_order, home_of, home_option
from shift_assets.cli.render import err, out, print_json, print_line, progress
from shift_assets.settings.config_file import ConfigError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
quarantine = typer.Typer(
    no_args_is_help=True, help="Rejected rows: look at them, and find what a mended source would now accept."
)
app.add_typer(quarantine, name="quarantine")
for subcommand in (recommendations, sequences, reactions):
    evaluate.command()(subcommand)
app.add_typer(evaluate, name="evaluate")

DEMO_DAYS, DEMO_HISTORY_DAYS = 28, 336
DEMO_LAST_DAY = date(2011, 12, 9)
"""The last day of the shipped log."""


def main() -> None:
    """Runs the command; a user's mistake gives one message and exit code 2, never a traceback."""
    try:
        app()
    except (KeyError, IndexError):
        raise  # a mistake of ours, not the caller's
    except (ValueError, LookupError, FileNotFoundError, FileExistsError, PermissionError) as error:
        _fail("error", error, 2)
    except (RuntimeError, OSError) as error:
        _fail("failed", error, 1)


def _fail(label: str, error: Exception, code: int) -> NoReturn:
    if os.environ.get("SHIFT_TRACEBACK"):
        raise error
    _print_error(label, str(error))
    sys.exit(code)


def _print_error(label: str, message: str) -> None:
    err.print(Text(label, "bold red") + Text(f" {message}"), soft_wrap=True)


@app.command()
def demo(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """The main job on the real log that ships with the package (Online Retail II).

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
    with progress("landing the shipped log", quiet=as_json) as on_progress:
        landed = land_file(sample_log(), workspace.settings.landing, workspace.source)
        on_progress(f"landed {sum(landed.rows_per_day.values()):,} rows in {len(landed.rows_per_day)} day folders")
    _run(folder, first, DEMO_LAST_DAY, None, as_json, started)


@app.command()
def init(
    source: Annotated[str, typer.Option(help="A shipped source's name, or the path of a source YAML.")],
    home: HomeOption = None,
    first_day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First partition day; else the first landed one.")
    ] = None,
) -> None:
    """Makes an installation: folders, settings, source.

    Example: `shift-assets init --home my_shop --source my_shop.yaml`
    """
    from shift_assets.workspace import home as homes

    workspace = homes.create(home_of(home), source, first_day.date() if first_day else None)
    here = workspace.settings.home
    print_line(f"{here} is ready for source {workspace.source.name}; next: shift-assets land FILE{home_option(home)}")


@app.command()
def land(
    file: Annotated[
        Path,
        typer.Argument(
            help="A bulk export: JSON lines, CSV or Parquet; plain, gzip or zstd.", exists=True, dir_okay=False
        ),
    ],
    home: HomeOption = None,
    table: Annotated[str, typer.Option(help="What the file holds: events, items or users.")] = "events",
    as_json: JsonOption = False,
) -> None:
    """Splits a bulk export into day folders of the landing, losing nothing.

    Example: `shift-assets land events.csv.gz --home my_shop`
    """
    from shift_assets.ingest import landing
    from shift_assets.ingest.readers.opened_file import UnreadableFileError
    from shift_assets.workspace import home as homes

    workspace = homes.open_workspace(home_of(home))
    if table in {"items", "users"}:
        _land_table(file, workspace, table, as_json)
        return
    if table != "events":
        raise ConfigError(f"--table {table}: expected events, items or users")
    with progress(f"landing {file}", quiet=as_json) as on_progress:
        try:
            landed = landing.land(file, workspace.settings.landing, workspace.source)
        except UnreadableFileError as error:
            raise ConfigError(f"{file}: {error}") from error
        on_progress(f"landed {sum(landed.rows_per_day.values()):,} rows in {len(landed.rows_per_day)} day folders")
        if landed.undated:
            on_progress(
                f"{landed.undated:,} of them tell no day: they lie in files …-undated-…, and a run rejects them"
            )
    days = sorted(landed.rows_per_day)
    covered = (
        homes.extend_calendar(workspace, days[0], days[-1], _today(workspace.source.timezone)) if days else workspace
    )
    first = covered.settings.calendar.first_day
    outside = [day for day in days if first and day < first]
    if outside and not as_json:
        err.print(
            f"{len(outside)} landed days lie before calendar.first_day {first} and take no part; "
            f"set calendar.first_day: {outside[0]} in {covered.settings.home / 'settings.yaml'} to include them"
        )
    if as_json:
        print_json({day.isoformat(): rows for day, rows in sorted(landed.rows_per_day.items())})
        return
    calendar = covered.settings.calendar
    if calendar.first_day:
        end = f"{calendar.last_day}; the next landed day moves the end on" if calendar.last_day else "yesterday, always"
        print_line(f"the calendar covers {calendar.first_day} … {end}")


def _land_table(file: Path, workspace: Any, table: str, as_json: bool) -> None:
    from shift_assets.ingest import landing
    from shift_assets.ingest.readers.opened_file import UnreadableFileError
    from shift_assets.ingest.rows.lookup_tables import count_rows

    form = workspace.source.items if table == "items" else workspace.source.users
    if form is None:
        raise ConfigError(
            f"the source has no {table} table; add `{table}:` to {workspace.settings.home / 'source.yaml'}"
        )
    try:
        rows, named = count_rows(file, form)
    except UnreadableFileError as error:
        raise ConfigError(f"{file}: {error}") from error
    copied = (landing.land_items if table == "items" else landing.land_users)(file, workspace.settings.landing)
    if as_json:
        print_json({"file": copied, "rows": rows, "rows_without_id": rows - named})
        return
    print_line(
        f"landed {copied}: {rows:,} rows" + (f", {rows - named:,} of them without an id" if rows > named else "")
    )


@app.command()
def run(
    first: FromOption,
    last: ToOption,
    home: HomeOption = None,
    segment: Annotated[str | None, typer.Option(help="One segment; else all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Materialises every stage for a range of days, through Dagster; history that it needs comes first.

    Example: `shift-assets run --from 2011-11-12 --to 2011-12-09`
    """
    _run(home_of(home), first.date(), last.date(), segment, as_json, time.monotonic())


@app.command()
def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI, on 127.0.0.1.")] = 3000,
) -> None:
    """Opens Dagster: the UI, and the daemon that runs sensors and schedules. Stop with Ctrl-C.

    Example: `shift-assets ui --port 3000`
    """
    from shift_assets.defs.instance import open_instance
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.ui import HOST, require_free, serve

    workspace = homes.open_workspace(home_of(home))
    require_free(port)
    open_instance(workspace).dispose()  # two processes that both create its databases would fail
    out.print(f"Dagster: http://{HOST}:{port}  (Ctrl-C stops it)")
    serve(workspace.settings.home, port)


@app.command()
def simulate(
    target: Annotated[Path, typer.Argument(help="Folder that gets landing/, labels.parquet and source.yaml.")],
    users: Annotated[int, typer.Option(help="Users.")] = 2_000,
    items: Annotated[int, typer.Option(help="Items.")] = 2_000,
    days: Annotated[int, typer.Option(help="Days.")] = 90,
    events: Annotated[int | None, typer.Option(help="Events in all, about; else three per user and day.")] = None,
    first_day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")] = datetime(2026, 1, 1),  # noqa: DTZ001
    dirt_share: Annotated[float, typer.Option(help="Malformed, duplicate and late rows per event.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 20260101,
    as_json: JsonOption = False,
) -> None:
    """Writes a log with planted, labelled shifts into a landing folder.

    Example: `shift-assets simulate simulated --users 5000 --days 60 --events 1000000`

    Then: `shift-assets init --home simulated --source simulated/source.yaml`
    """
    from pydantic import ValidationError

    from shift_assets.simulate.simulation import Simulation
    from shift_assets.simulate.writer import simulate as write_log

    try:
        simulation = Simulation(
            users=users,
            items=items,
            days=days,
            events=events,
            first_day=first_day.date(),
            dirt_share=dirt_share,
            seed=seed,
        )
    except ValidationError as error:
        problems = "; ".join(f"--{p['loc'][0]}: {p['msg']}" if p["loc"] else p["msg"] for p in error.errors())
        raise ConfigError(problems.replace("_", "-")) from error
    with progress(f"simulating {days} days", quiet=as_json) as on_progress:
        summary = write_log(simulation, target)
        on_progress(f"wrote {target}")
    print_json(asdict(summary)) if as_json else out.print(summary)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="File (duckdb) or folder (parquet, csv) to write.")],
    first: FromOption,
    last: ToOption,
    home: HomeOption = None,
    table: Annotated[list[str] | None, typer.Option(help="A table to export; repeat for more; else all.")] = None,
    form: Annotated[str, typer.Option("--format", help="duckdb, parquet or csv.")] = "duckdb",
    overwrite: Annotated[bool, typer.Option(help="Replace a target that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Writes tables of a period to one DuckDB file, or to Parquet or CSV files.

    Example: `shift-assets export alerts.csv --format csv --table shift_alerts --from 2011-11-12 --to 2011-12-09`
    """
    from shift_assets.contracts.registry import TABLES
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.export import export as write

    check_order(first, last)
    workspace = homes.open_workspace(home_of(home))
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists already; choose another target, or add --overwrite")
    if form not in {"duckdb", "parquet", "csv"}:
        raise ConfigError(f"--format {form}: expected duckdb, parquet or csv")
    written = write(
        workspace.lake,
        first.date(),
        last.date(),
        target,
        table or list(TABLES),
        form=cast("Literal['duckdb', 'parquet', 'csv']", form),
        overwrite=overwrite,
    )
    if as_json:
        print_json({"target": written.target, "rows": written.rows})
    else:
        print_line(f"{written.target}: {sum(written.rows.values()):,} rows of {len(written.rows)} tables")
        if not any(written.rows.values()):
            err.print("no table has rows in these days; `shift-assets run` makes them")


@app.command()
def erase(
    user: Annotated[str, typer.Option(help="The user's id as the shop delivers it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Removes one user from every table and BI file; later deliveries of the user are not taken in.

    Example: `shift-assets erase --user 13085`
    """
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.erase import erase_user

    workspace = homes.open_workspace(home_of(home))
    erasure = erase_user(workspace, user)
    report = {"rows": erasure.rows, "days": list(erasure.days), "models_to_retrain": list(erasure.models)}
    if as_json:
        print_json(report)
        return
    if not erasure.rows:
        print_line("no row of this user was found; check the id. Should the user be delivered, nothing is taken in")
        return
    print_line(f"removed {sum(erasure.rows.values()):,} rows of {len(erasure.rows)} tables; BI files rebuilt")
    if erasure.days:
        days = f"--from {erasure.days[0]} --to {erasure.days[-1]}"
        print_line("aggregates of the user's days and models hold a share of the user until these days are run again:")
        print_line(f"shift-assets run {days}{home_option(home)}")
    if erasure.models:
        print_line(f"{len(erasure.models)} models were trained with the user; --json lists them")


@quarantine.command("ls")
def quarantine_ls(
    home: HomeOption = None,
    reason: Annotated[str | None, typer.Option(help="One reason only.")] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")] = None,
    limit: Annotated[int, typer.Option(help="Rows shown.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Lists rejected rows: where they were delivered, and why they were rejected.

    Example: `shift-assets quarantine ls --reason bad_timestamp`
    """
    from shift_assets.contracts.cleaning import REJECT_REASONS
    from shift_assets.ingest.quarantine import rejected_rows
    from shift_assets.workspace import home as homes

    check_order(first, last)
    if reason is not None and reason not in REJECT_REASONS:
        raise ConfigError(f"--reason {reason}: no such reason; known: {', '.join(REJECT_REASONS)}")
    workspace = homes.open_workspace(home_of(home))
    rows = rejected_rows(
        workspace.lake, reason=reason, first_day=first.date() if first else None, last_day=last.date() if last else None
    )
    shown = rows.select(["day", "segment", "source_file", "source_row", "reason", "detail"]).slice(0, limit).to_pylist()
    by_reason = dict(Counter(rows["reason"].to_pylist()).most_common())
    if as_json:
        print_json({"rows": rows.num_rows, "by_reason": by_reason, "shown": shown})
        return
    for row in shown:
        print_line(f"{row['source_file']}:{row['source_row']}  {row['reason']}: {row['detail']}")
    by_reason_text = f" ({', '.join(f'{name} {count:,}' for name, count in by_reason.items())})" if by_reason else ""
    more = f"; {len(shown)} shown, --limit shows more" if rows.num_rows > len(shown) else ""
    print_line(f"{rows.num_rows:,} rejected rows{by_reason_text}{more}")


@quarantine.command("replay")
def quarantine_replay(
    first: FromOption,
    last: ToOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Names the days whose rejected rows the present source YAML would accept, and the command that takes them in.

    Example: `shift-assets quarantine replay --from 2011-11-12 --to 2011-12-09`
    """
    from shift_assets.contracts.shift import INTEREST_STATE
    from shift_assets.ingest.quarantine import replay
    from shift_assets.workspace import home as homes

    check_order(first, last)
    workspace = homes.open_workspace(home_of(home))
    accepted = replay(workspace.lake, workspace.parse_context, first.date(), last.date())
    if as_json:
        print_json([{"day": p.day, "segment": p.segment, "rows": rows} for p, rows in accepted.items()])
    elif not accepted:
        print_line("no rejected row of these days would be accepted now")
    else:
        days = [partition.day for partition in accepted]
        # What comes after rests on these days: the state, and with it alarms and lists.
        end = max([*days, *(partition.day for partition in workspace.lake.published(INTEREST_STATE))])
        print_line(
            f"{sum(accepted.values()):,} rejected rows of {len(set(days))} days would be accepted now; take them in:"
        )
        print_line(f"shift-assets run --from {min(days)} --to {end}{home_option(home)}")


@app.command()
def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Looks at what the installation needs: home, engine, disk, key, port, Dagster, tables, BI files.

    Example: `shift-assets doctor`
    """
    from shift_assets.workspace.doctor import diagnose

    findings = diagnose(home_of(home))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "fault": "[red]fault[/]"}[finding.level]
            out.print(f"{mark} {escape(finding.subject)}: {escape(finding.text)}", highlight=False, soft_wrap=True)
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


def _today(timezone: str) -> date:
    return datetime.now(ZoneInfo(timezone)).date()


def _run(folder: Path, first: date, last: date, segment: str | None, as_json: bool, started: float) -> None:
    os.environ["SHIFT_HOME"] = str(folder)
    from shift_assets.defs.range_run import run_range
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.run_report import build_run_report

    if last < first:
        raise ConfigError(f"--to {last} lies before --from {first}")
    workspace = homes.open_workspace(folder)
    workspace = homes.extend_calendar(workspace, _earliest(workspace, first), last, _today(workspace.source.timezone))
    calendar = workspace.settings.calendar
    if calendar.first_day and first < calendar.first_day:
        raise ConfigError(
            f"--from {first} lies before the calendar's first day {calendar.first_day}; "
            f"set calendar.first_day in {folder / 'settings.yaml'}"
        )
    known = list(workspace.source.segment_keys)
    if segment is not None and segment not in known:
        raise ConfigError(f"--segment {segment}: no such segment; known: {', '.join(known)}")
    segments = [segment] if segment else known
    with progress("starting", quiet=as_json) as on_progress:
        report = run_range(workspace, first, last, segments, on_progress)
    if not report.success:
        for message in report.errors:
            _print_error("failed", message)
        err.print(f"look at the run: shift-assets ui --home {shlex.quote(str(folder))}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    summary = build_run_report(workspace, first, last, segments)
    if as_json:
        print_json({**summary.as_json(), "seconds": report.seconds})
        return
    print_run_report(workspace, summary)
    if report.history_from:
        out.print(f"History {report.history_from} … {first - timedelta(days=1)}: cleaning, interest series and state.")
    out.print(f"{time.monotonic() - started:.0f} s in all.")


def _earliest(workspace: Any, first: date) -> date:
    from shift_assets.ingest.readers.source_files import list_landing

    if workspace.settings.calendar.first_day is not None:
        return first
    return min((file.folder_day for file in list_landing(workspace.settings.landing).files), default=first)
