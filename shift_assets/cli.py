"""The command line: `shift-assets`, also `python -m shift_assets`.

What belongs here: names, options, help and printing. Exit codes: 0 done, 1 the work failed, 2 the call was wrong.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from shift_assets.configfile import ConfigError
from shift_assets.settings import home_from_environment

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
quarantine = typer.Typer(
    no_args_is_help=True, help="Rejected rows: look at them, and find what a mended source would now accept."
)
app.add_typer(quarantine, name="quarantine")

out = Console()
err = Console(stderr=True)

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of the installation.", envvar="SHIFT_HOME", show_default=".shift")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
FromOption = Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")]
ToOption = Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")]

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


def _fail(word: str, error: Exception, code: int) -> NoReturn:
    if os.environ.get("SHIFT_TRACEBACK"):
        raise error
    _complain(word, str(error))
    sys.exit(code)


def _complain(word: str, message: str) -> None:
    err.print(Text(word, "bold red") + Text(f" {message}"), soft_wrap=True)


def _say(line: str) -> None:
    """One line, never broken or coloured: it may hold a path, or a command to copy."""
    out.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def demo(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """The main job on the real log that ships with the package (Online Retail II).

    Example: `shift-assets demo`
    """
    from shift_assets import home as homes
    from shift_assets.ingest.land import land as land_file
    from shift_assets.ingest.sample import sample_log

    started = time.monotonic()
    folder = _home(home)
    first = DEMO_LAST_DAY - timedelta(days=DEMO_DAYS - 1)
    platform = homes.create(
        folder, "online_retail_ii", first_day=first - timedelta(days=DEMO_HISTORY_DAYS), last_day=DEMO_LAST_DAY
    )
    with _status("landing the shipped log", quiet=as_json) as say:
        landed = land_file(sample_log(), platform.settings.landing, platform.source)
        say(f"landed {sum(landed.rows_per_day.values()):,} rows in {len(landed.rows_per_day)} day folders")
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
    from shift_assets import home as homes

    platform = homes.create(_home(home), source, first_day.date() if first_day else None)
    here = platform.settings.home
    _say(f"{here} is ready for source {platform.source.name}; next: shift-assets land FILE{_home_option(home)}")


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
    from shift_assets import home as homes
    from shift_assets.ingest import land as landing
    from shift_assets.ingest.files import UnreadableFileError

    platform = homes.open_platform(_home(home))
    if table in {"items", "users"}:
        _land_table(file, platform, table, as_json)
        return
    if table != "events":
        raise ConfigError(f"--table {table}: expected events, items or users")
    with _status(f"landing {file}", quiet=as_json) as say:
        try:
            landed = landing.land(file, platform.settings.landing, platform.source)
        except UnreadableFileError as error:
            raise ConfigError(f"{file}: {error}") from error
        say(f"landed {sum(landed.rows_per_day.values()):,} rows in {len(landed.rows_per_day)} day folders")
        if landed.undated:
            say(f"{landed.undated:,} of them tell no day: they lie in files …-undated-…, and a run rejects them")
    days = sorted(landed.rows_per_day)
    covered = homes.cover(platform, days[0], days[-1], _today(platform.source.timezone)) if days else platform
    first = covered.settings.calendar.first_day
    outside = [day for day in days if first and day < first]
    if outside and not as_json:
        err.print(
            f"{len(outside)} landed days lie before calendar.first_day {first} and take no part; "
            f"set calendar.first_day: {outside[0]} in {covered.settings.home / 'settings.yaml'} to include them"
        )
    if as_json:
        _print_json({day.isoformat(): rows for day, rows in sorted(landed.rows_per_day.items())})


def _land_table(file: Path, platform: Any, table: str, as_json: bool) -> None:
    from shift_assets.ingest import land as landing
    from shift_assets.ingest.files import UnreadableFileError
    from shift_assets.ingest.lookups import count_rows

    form = platform.source.items if table == "items" else platform.source.users
    if form is None:
        raise ConfigError(
            f"the source has no {table} table; add `{table}:` to {platform.settings.home / 'source.yaml'}"
        )
    try:
        rows, named = count_rows(file, form)
    except UnreadableFileError as error:
        raise ConfigError(f"{file}: {error}") from error
    copied = (landing.land_items if table == "items" else landing.land_users)(file, platform.settings.landing)
    if as_json:
        _print_json({"file": copied, "rows": rows, "rows_without_id": rows - named})
        return
    _say(f"landed {copied}: {rows:,} rows" + (f", {rows - named:,} of them without an id" if rows > named else ""))


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
    _run(_home(home), first.date(), last.date(), segment, as_json, time.monotonic())


@app.command()
def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI, on 127.0.0.1.")] = 3000,
) -> None:
    """Opens Dagster: the UI, and the daemon that runs sensors and schedules. Stop with Ctrl-C.

    Example: `shift-assets ui --port 3000`
    """
    import subprocess

    from shift_assets import home as homes

    folder = homes.open_platform(_home(home)).settings.home
    homes.write_instance_file(folder)
    environment = {**os.environ, "SHIFT_HOME": str(folder), "DAGSTER_HOME": str(folder / "dagster")}
    bin_folder = Path(sys.executable).parent
    location = ["-m", "shift_assets.definitions"]
    processes = [
        subprocess.Popen(  # noqa: S603
            [bin_folder / "dagster-webserver", *location, "-h", "127.0.0.1", "-p", str(port)], env=environment
        ),
        subprocess.Popen([bin_folder / "dagster-daemon", "run", *location], env=environment),  # noqa: S603
    ]
    out.print(f"Dagster: http://127.0.0.1:{port}  (Ctrl-C stops it)")
    try:
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        raise typer.Exit(1)
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


@app.command()
def evaluate(
    home: HomeOption = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day; else the calendar's.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day; else the newest alert.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Quality report of what was materialised: rows, verdicts, alarms confirmed, recall.

    Example: `shift-assets evaluate --home my_shop --json`
    """
    from shift_assets import home as homes
    from shift_assets.contracts import SHIFT_ALERTS
    from shift_assets.summary import summarise

    _check_order(first, last)
    platform = homes.open_platform(_home(home))
    standing = sorted(partition.day for partition in platform.lake.published(SHIFT_ALERTS))
    if not standing:
        raise ConfigError("nothing to evaluate yet; materialise some days first: shift-assets run --from D --to D")
    summary = summarise(
        platform,
        first.date() if first else standing[0],
        last.date() if last else standing[-1],
        list(platform.source.segment_keys),
    )
    _print_json(summary.as_json()) if as_json else _print_summary(platform, summary)


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

    from shift_assets.simulate import Simulation
    from shift_assets.simulate import simulate as write_log

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
    with _status(f"simulating {days} days", quiet=as_json) as say:
        summary = write_log(simulation, target)
        say(f"wrote {target}")
    _print_json(asdict(summary)) if as_json else out.print(summary)


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
    from shift_assets import home as homes
    from shift_assets.contracts import TABLES
    from shift_assets.export import export as write

    _check_order(first, last)
    platform = homes.open_platform(_home(home))
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists already; choose another target, or add --overwrite")
    if form not in {"duckdb", "parquet", "csv"}:
        raise ConfigError(f"--format {form}: expected duckdb, parquet or csv")
    written = write(
        platform.lake,
        first.date(),
        last.date(),
        target,
        table or list(TABLES),
        form=cast("Literal['duckdb', 'parquet', 'csv']", form),
        overwrite=overwrite,
    )
    if as_json:
        _print_json({"target": written.target, "rows": written.rows})
    else:
        _say(f"{written.target}: {sum(written.rows.values()):,} rows of {len(written.rows)} tables")
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
    from shift_assets import home as homes
    from shift_assets.erasure import erase_user

    platform = homes.open_platform(_home(home))
    erasure = erase_user(platform, user)
    report = {"rows": erasure.rows, "days": list(erasure.days), "models_to_retrain": list(erasure.models)}
    if as_json:
        _print_json(report)
        return
    if not erasure.rows:
        _say("no row of this user was found; check the id. Should the user be delivered, nothing is taken in")
        return
    _say(f"removed {sum(erasure.rows.values()):,} rows of {len(erasure.rows)} tables; BI files rebuilt")
    if erasure.days:
        days = f"--from {erasure.days[0]} --to {erasure.days[-1]}"
        _say("aggregates of the user's days and models hold a share of the user until these days are run again:")
        _say(f"shift-assets run {days}{_home_option(home)}")
    if erasure.models:
        _say(f"{len(erasure.models)} models were trained with the user; --json lists them")


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
    from shift_assets import home as homes
    from shift_assets.contracts import REJECT_REASONS
    from shift_assets.ingest.quarantine import rejected_rows

    _check_order(first, last)
    if reason is not None and reason not in REJECT_REASONS:
        raise ConfigError(f"--reason {reason}: no such reason; known: {', '.join(REJECT_REASONS)}")
    platform = homes.open_platform(_home(home))
    rows = rejected_rows(
        platform.lake, reason=reason, first_day=first.date() if first else None, last_day=last.date() if last else None
    )
    shown = rows.select(["day", "segment", "source_file", "source_row", "reason", "detail"]).slice(0, limit).to_pylist()
    by_reason = dict(Counter(rows["reason"].to_pylist()).most_common())
    if as_json:
        _print_json({"rows": rows.num_rows, "by_reason": by_reason, "shown": shown})
        return
    for row in shown:
        _say(f"{row['source_file']}:{row['source_row']}  {row['reason']}: {row['detail']}")
    told = f" ({', '.join(f'{name} {count:,}' for name, count in by_reason.items())})" if by_reason else ""
    more = f"; {len(shown)} shown, --limit shows more" if rows.num_rows > len(shown) else ""
    _say(f"{rows.num_rows:,} rejected rows{told}{more}")


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
    from shift_assets import home as homes
    from shift_assets.contracts import INTEREST_STATE
    from shift_assets.ingest.quarantine import replay

    _check_order(first, last)
    platform = homes.open_platform(_home(home))
    healed = replay(platform, first.date(), last.date())
    if as_json:
        _print_json([{"day": p.day, "segment": p.segment, "rows": rows} for p, rows in healed.items()])
    elif not healed:
        _say("no rejected row of these days would be accepted now")
    else:
        days = [partition.day for partition in healed]
        # What comes after rests on these days: the state, and with it alarms and lists.
        end = max([*days, *(partition.day for partition in platform.lake.published(INTEREST_STATE))])
        _say(f"{sum(healed.values()):,} rejected rows of {len(set(days))} days would be accepted now; take them in:")
        _say(f"shift-assets run --from {min(days)} --to {end}{_home_option(home)}")


@app.command()
def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Looks at what the installation needs: home, engine, disk, key, port, Dagster, tables, BI files.

    Example: `shift-assets doctor`
    """
    from shift_assets.doctor import examine

    findings = examine(_home(home))
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "fault": "[red]fault[/]"}[finding.level]
            out.print(f"{mark} {escape(finding.subject)}: {escape(finding.text)}", highlight=False, soft_wrap=True)
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


def _home(home: Path | None) -> Path:
    return (home or home_from_environment()).resolve()


def _home_option(home: Path | None) -> str:
    """` --home DIR`, as a shell reads it, where the caller named one; SHIFT_HOME and the default go without saying."""
    if home is None or os.environ.get("SHIFT_HOME") == str(home):
        return ""
    return f" --home {shlex.quote(str(home))}"


def _check_order(first: datetime | None, last: datetime | None) -> None:
    if first and last and last < first:
        raise ConfigError(f"--to {last.date()} lies before --from {first.date()}")


def _today(timezone: str) -> date:
    return datetime.now(ZoneInfo(timezone)).date()


def _run(folder: Path, first: date, last: date, segment: str | None, as_json: bool, started: float) -> None:
    os.environ["SHIFT_HOME"] = str(folder)
    from shift_assets import home as homes
    from shift_assets.runs import run_range
    from shift_assets.summary import summarise

    if last < first:
        raise ConfigError(f"--to {last} lies before --from {first}")
    platform = homes.open_platform(folder)
    platform = homes.cover(platform, _earliest(platform, first), last, _today(platform.source.timezone))
    calendar = platform.settings.calendar
    if calendar.first_day and first < calendar.first_day:
        raise ConfigError(
            f"--from {first} lies before the calendar's first day {calendar.first_day}; "
            f"set calendar.first_day in {folder / 'settings.yaml'}"
        )
    known = list(platform.source.segment_keys)
    if segment is not None and segment not in known:
        raise ConfigError(f"--segment {segment}: no such segment; known: {', '.join(known)}")
    segments = [segment] if segment else known
    with _status("starting", quiet=as_json) as say:
        report = run_range(platform, first, last, segments, say)
    if not report.success:
        for message in report.errors:
            _complain("failed", message)
        err.print(f"look at the run: shift-assets ui --home {shlex.quote(str(folder))}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    summary = summarise(platform, first, last, segments)
    if as_json:
        _print_json({**summary.as_json(), "seconds": report.seconds})
        return
    _print_summary(platform, summary)
    if report.history_from:
        out.print(f"History {report.history_from} … {first - timedelta(days=1)}: cleaning, interest series and state.")
    out.print(f"{time.monotonic() - started:.0f} s in all.")


def _earliest(platform: Any, first: date) -> date:
    from shift_assets.ingest.files import list_landing

    if platform.settings.calendar.first_day is not None:
        return first
    return min((file.folder_day for file in list_landing(platform.settings.landing).files), default=first)


def _print_summary(platform: Any, summary: Any) -> None:
    table = RichTable(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rejected = sum(summary.rows_rejected.values())
    by_reason = ", ".join(f"{reason} {count:,}" for reason, count in summary.rows_rejected.items())
    by_kind = ", ".join(f"{kind} {count:,}" for kind, count in summary.alarms_opened.items()) or "none"
    table.add_row("Days", f"{summary.first_day} … {summary.last_day}, segments {', '.join(summary.segments)}")
    table.add_row("Rows delivered", f"{summary.rows_delivered:,}")
    table.add_row("  clean", f"{summary.rows_clean:,}")
    table.add_row("  rejected", f"{rejected:,}" + (f"  ({by_reason})" if by_reason else ""))
    table.add_row(
        "Quality gates", "all passed" if not summary.failed_expectations else "\n".join(summary.failed_expectations)
    )
    table.add_row("Users watched", f"{summary.users_watched:,}")
    table.add_row("Alarms opened", f"{sum(summary.alarms_opened.values()):,}  ({by_kind})")
    for example in summary.examples:
        table.add_row(
            "  for example",
            escape(f"{example['day']} {example['segment']} {example['kind']}: {example['explanation']}"),
        )
    table.add_row("Recommendations", f"{summary.recommendations:,} for {summary.users_with_recommendations:,} users")
    if summary.recall_at_k is not None:
        horizon = platform.settings.outcomes.horizon_days
        table.add_row(
            f"  recall@{summary.k}",
            f"{summary.recall_at_k:.3f} on the {horizon} days after each list ({summary.users_judged:,} lists judged)",
        )
    if summary.alarms_confirmed_share is not None:
        table.add_row(
            "  alarms confirmed",
            f"{summary.alarms_confirmed_share:.0%} of {summary.alarms_judged:,} that the days after could judge",
        )
    settings = platform.settings
    out.print()
    out.print(table, soft_wrap=False)
    _say(f"Tables               {settings.lake_root}  (Delta, one folder per table)")
    _say(f"BI files             {settings.bi / 'bi_public.duckdb'}, bi_activation.duckdb")
    _say(f"Look at it           shift-assets ui --home {shlex.quote(str(settings.home))}   → http://127.0.0.1:3000")


def _print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2, sort_keys=True, default=str, ensure_ascii=False) + "\n")


@contextmanager
def _status(message: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal, plain lines elsewhere, nothing when `quiet`."""
    if quiet:
        yield lambda _: None
        return
    with err.status(message) as status:

        def say(line: str) -> None:
            err.print(line, markup=False, highlight=False, soft_wrap=True)
            status.update(line.strip())

        yield say
