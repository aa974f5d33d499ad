"""Options that several commands share, and what every command takes: its verbosity and the log of its home."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from shift_assets.cli import logs
from shift_assets.cli.logs import Verbosity
from shift_assets.cli.system_errors import explain_system_errors
from shift_assets.errors import UserError

DAY = "YYYY-MM-DD"


def parse_day(text: str | date) -> date:
    """The day written as YYYY-MM-DD; a default passes as it is."""
    if isinstance(text, date):
        return text
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:  # fromisoformat also reads 20260301 and 2026-W09-7
        raise typer.BadParameter(f"{text!r} does not match {DAY}, such as 2026-03-31")
    return day


HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of the installation.", envvar="SHIFT_HOME", show_default=".shift")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
FromOption = Annotated[date, typer.Option("--from", parser=parse_day, metavar=DAY, help="First day.")]
ToOption = Annotated[date, typer.Option("--to", parser=parse_day, metavar=DAY, help="Last day.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show what every phase logs: rows and seconds.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Show results and errors only.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show debug logs, and tracebacks of all errors.")]


def choose_verbosity(verbose: bool, quiet: bool, debug: bool) -> Verbosity | None:
    """The verbosity asked for; None where no option was given.

    Raises:
        typer.BadParameter: More than one option was given.
    """
    options = {Verbosity.VERBOSE: verbose, Verbosity.QUIET: quiet, Verbosity.DEBUG: debug}
    given = [verbosity for verbosity, is_given in options.items() if is_given]
    if len(given) > 1:
        raise typer.BadParameter("--verbose, --quiet and --debug exclude each other; give one of them")
    return given[0] if given else None


_VERBOSITY_OPTIONS = {"verbose": VerboseOption, "quiet": QuietOption, "debug": DebugOption}


def logged(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as a command with --verbose, --quiet and --debug, whose log goes to the home it is called for."""
    signature = inspect.signature(function, eval_str=True)

    @wraps(function)
    def command(*, verbose: bool, quiet: bool, debug: bool, **arguments: object) -> None:
        verbosity = choose_verbosity(verbose, quiet, debug)
        if verbosity is not None:
            logs.set_verbosity(verbosity)
        home = _home_in(arguments) if "home" in signature.parameters else None
        if home is not None:
            logs.log_to(home)
        with explain_system_errors(home):
            function(**arguments)

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in _VERBOSITY_OPTIONS.items()
    ]
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    return command


def _home_in(arguments: dict[str, object]) -> Path:
    """The home of a call; one that `evaluate` was given counts for its subcommands."""
    context = arguments.get("context")
    home = arguments["home"] or (context.obj if isinstance(context, typer.Context) else None)
    return home_of(home if isinstance(home, Path) else None)


def home_of(home: Path | None) -> Path:
    """The absolute path of the home that the caller named, else of SHIFT_HOME or the default."""
    from shift_assets.workspace.home import home_from_environment

    return (home or home_from_environment()).resolve()


def home_option(home: Path | None) -> str:
    """` --home DIR`, quoted for a shell, where the caller named one; empty for SHIFT_HOME and the default."""
    if home is None or os.environ.get("SHIFT_HOME") == str(home):
        return ""
    return f" --home {shlex.quote(str(home))}"


def require_order(first: date | None, last: date | None) -> None:
    """Raise UserError where the last day lies before the first."""
    if first and last and last < first:
        raise UserError(f"--to {last} lies before --from {first}; give the earlier day to --from")


def require_segments(named: list[str], known: tuple[str, ...] | list[str]) -> None:
    """Raise UserError where a named segment is not one of the source's."""
    for segment in named:
        if segment not in known:
            raise UserError(f"--segment {segment}: no such segment; known: {', '.join(known)}")
