"""Commands that make an installation and fill its landing: init, land, simulate."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from shift_assets.cli import logs
from shift_assets.cli.options import DAY, HomeOption, JsonOption, home_of, home_option, parse_day
from shift_assets.cli.render import print_json, print_line, print_note, print_simulation, progress
from shift_assets.errors import UserError

if TYPE_CHECKING:
    from shift_assets.workspace.workspace import Workspace


def init(
    source: Annotated[str, typer.Option(help="Name of a shipped source, or path of a source YAML.")],
    home: HomeOption = None,
    first_day: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar=DAY, help="First partition day; else the first landed one."),
    ] = None,
) -> None:
    """Create an installation: folders, settings and source.

    Files that lie in its landing already are found, and the command that materialises them is named.

    Example: `shift-assets init --home my_shop --source userbehavior`
    """
    from shift_assets.ingest.readers.source_files import list_landing
    from shift_assets.workspace import home as homes

    workspace = homes.create(home_of(home), source, first_day)
    logs.log_to(workspace.settings.home)
    print_line(f"{workspace.settings.home} is ready for source {workspace.source.name}")
    days = sorted({file.folder_day for file in list_landing(workspace.settings.landing).files})
    if not days:
        print_line(f"nothing is landed yet; next: shift-assets land FILE{home_option(home)}")
        return
    print_line(f"{len(days):,} days are landed, {days[0]} … {days[-1]}; next:")
    start = max(days[0], workspace.settings.calendar.first_day or days[0])
    print_line(f"shift-assets run --from {start} --to {max(start, days[-1])}{home_option(home)}")


def land(
    file: Annotated[
        Path,
        typer.Argument(
            help="A bulk export: JSON lines, CSV or Parquet; plain, gzip or zstd.", exists=True, dir_okay=False
        ),
    ],
    home: HomeOption = None,
    table: Annotated[Literal["events", "items", "users"], typer.Option(help="What the file holds.")] = "events",
    as_json: JsonOption = False,
) -> None:
    """Split a bulk export into day folders of the landing; every row lands.

    Example: `shift-assets land events.csv.gz --home my_shop`
    """
    from shift_assets.workspace import home as homes

    workspace = homes.open_workspace(home_of(home))
    if table == "events":
        _land_events(file, workspace, as_json)
    else:
        _land_table(file, workspace, table, as_json)


def _land_events(file: Path, workspace: Workspace, as_json: bool) -> None:
    from shift_assets.ingest import landing
    from shift_assets.ingest.readers.opened_file import UnreadableFileError
    from shift_assets.workspace import home as homes

    with progress(f"landing {file}") as on_progress:
        try:
            landed = landing.land(file, workspace.settings.landing, workspace.source)
        except UnreadableFileError as error:
            raise UserError(f"{file}: {error}") from error
        on_progress(f"landed {sum(landed.rows_per_day.values()):,} rows in {len(landed.rows_per_day)} day folders")
        if landed.undated:
            on_progress(
                f"{landed.undated:,} of them have no readable day: they lie in files …-undated-…, "
                "and a run rejects them"
            )
    days = sorted(landed.rows_per_day)
    covered = (
        homes.extend_calendar(workspace, days[0], days[-1], today_in(workspace.source.timezone)) if days else workspace
    )
    calendar = covered.settings.calendar
    outside = [day for day in days if calendar.first_day and day < calendar.first_day]
    if outside and not as_json:
        print_note(
            f"{len(outside)} landed days lie before calendar.first_day {calendar.first_day} and are not used; "
            f"set calendar.first_day: {outside[0]} in {covered.settings.home / 'settings.yaml'} to include them"
        )
    if as_json:
        print_json({day.isoformat(): landed.rows_per_day[day] for day in days})
    elif calendar.first_day:
        end = f"{calendar.last_day}; the next landed day extends it" if calendar.last_day else "yesterday, always"
        print_line(f"the calendar covers {calendar.first_day} … {end}")


def _land_table(file: Path, workspace: Workspace, table: Literal["items", "users"], as_json: bool) -> None:
    from shift_assets.ingest import landing
    from shift_assets.ingest.readers.opened_file import UnreadableFileError
    from shift_assets.ingest.rows.lookup_tables import count_rows

    form = workspace.source.items if table == "items" else workspace.source.users
    if form is None:
        raise UserError(f"the source has no {table} table; add `{table}:` to {workspace.settings.home / 'source.yaml'}")
    try:
        rows, named = count_rows(file, form)
    except UnreadableFileError as error:
        raise UserError(f"{file}: {error}") from error
    copied = (landing.land_items if table == "items" else landing.land_users)(file, workspace.settings.landing)
    if as_json:
        print_json({"file": copied, "rows": rows, "rows_without_id": rows - named})
        return
    print_line(
        f"landed {copied}: {rows:,} rows" + (f", {rows - named:,} of them without an id" if rows > named else "")
    )


def simulate(
    target: Annotated[Path, typer.Argument(help="Folder that gets landing/, labels.parquet and source.yaml.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 2_000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 2_000,
    days: Annotated[int, typer.Option(help="Number of days.")] = 90,
    events: Annotated[
        int | None, typer.Option(help="Approximate number of events; else three per user and day.")
    ] = None,
    first_day: Annotated[date, typer.Option(parser=parse_day, metavar=DAY, help="First day.")] = date(2026, 1, 1),
    dirt_share: Annotated[float, typer.Option(help="Malformed, duplicate and late rows per event.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 20260101,
    as_json: JsonOption = False,
) -> None:
    """Write a synthetic event log with labelled interest shifts into a landing folder.

    Example: `shift-assets simulate simulated --users 5000 --days 60 --events 1000000`

    Then: `shift-assets init --home simulated --source simulated/source.yaml`
    """
    from pydantic import ValidationError

    from shift_assets.simulate.simulation import Simulation
    from shift_assets.simulate.writer import simulate as write_log

    try:
        simulation = Simulation(
            users=users, items=items, days=days, events=events, first_day=first_day, dirt_share=dirt_share, seed=seed
        )
    except ValidationError as error:
        problems = [
            (f"--{str(problem['loc'][0]).replace('_', '-')}: " if problem["loc"] else "")
            + problem["msg"].removeprefix("Value error, ")
            for problem in error.errors(include_url=False)
        ]
        raise UserError("; ".join(problems)) from error
    with progress(f"simulating {days} days") as on_progress:
        summary = write_log(simulation, target)
        on_progress(f"wrote {target}")
    if as_json:
        print_json(asdict(summary))
    else:
        print_simulation(summary)


def today_in(timezone: str) -> date:
    """Today's date on the clocks of `timezone`, an IANA name."""
    return datetime.now(ZoneInfo(timezone)).date()
