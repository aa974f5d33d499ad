"""The command line: `shift-assets`, also `python -m shift_assets`.

Exit codes: 0 done, 1 the work failed, 2 the call, the settings or the source must be changed.
"""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from typer import rich_utils

from shift_assets.cli import bench, evaluate, evaluate_recommendations, logs, quarantine, render
from shift_assets.cli.data import erase, export
from shift_assets.cli.doctor import doctor
from shift_assets.cli.logs import Verbosity
from shift_assets.cli.options import DebugOption, QuietOption, VerboseOption, choose_verbosity, logged
from shift_assets.cli.run import demo, run
from shift_assets.cli.setup import init, land, simulate
from shift_assets.cli.ui import ui
from shift_assets.errors import ShiftError, UserError

_HELP_WIDTH = 120
"""Columns of `--help` off a terminal, where the width is not known: examples stay whole."""
_log = logging.getLogger(__name__)


def _group(**options: object) -> typer.Typer:
    return typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, **options)  # type: ignore[arg-type]


def _add(group: typer.Typer, *commands: Callable[..., None]) -> None:
    for command in commands:
        group.command()(logged(command))


app = _group(no_args_is_help=True)
_add(app, demo, init, land, run, ui, simulate, export, erase, doctor)

_quarantine = _group(no_args_is_help=True, help="List rejected rows, and find those that a corrected source accepts.")
_add(_quarantine, quarantine.ls, quarantine.replay)
app.add_typer(_quarantine, name="quarantine")

_evaluate = _group(invoke_without_command=True)
_evaluate.callback()(logged(evaluate.report))
_add(
    _evaluate,
    evaluate.shifts,
    evaluate.forecasts,
    evaluate_recommendations.recommendations,
    evaluate_recommendations.sequences,
    evaluate_recommendations.reactions,
)
app.add_typer(_evaluate, name="evaluate")

_bench = _group(no_args_is_help=True, help="Benchmarks on a log of your own, without an installation.")
_add(_bench, bench.shifts)
app.add_typer(_bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        render.print_line(f"shift-assets {importlib.metadata.version('shift-assets')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Find users whose interest has shifted, day by day, and recommend what fits them now."""
    logs.start(choose_verbosity(verbose, quiet, debug) or Verbosity.NORMAL)


def main() -> NoReturn:
    """Run the command line and exit with 0, with 1 where the work failed, or with 2 where the call was wrong."""
    logs.start()
    if not sys.stdout.isatty():
        rich_utils.MAX_WIDTH = _HELP_WIDTH
    try:
        # Not standalone: typer would print its errors in boxes that fold.
        code = typer.main.get_command(app)(prog_name="shift-assets", standalone_mode=False)
    except typer.TyperException as error:
        _print_refused_call(error)
        sys.exit(error.exit_code)
    except ShiftError as error:
        _log.error("%s", error, exc_info=error, extra=render.PRINTED)
        if logs.verbosity() == Verbosity.DEBUG:
            render.print_traceback(error)
        render.print_error("error" if isinstance(error, UserError) else "failed", str(error))
        sys.exit(2 if isinstance(error, UserError) else 1)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - whatever else reaches this point is a defect of ours
        _log.critical("defect", exc_info=error, extra=render.PRINTED)
        render.print_defect(error, logs.log_file())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _print_refused_call(error: typer.TyperException) -> None:
    """Print what typer refused, and the help that goes with it; nothing where it has printed the help itself."""
    if message := error.format_message():
        render.print_error("error", message.replace(": Value error, ", ": "))
        context = getattr(error, "ctx", None)
        if context is not None:
            render.print_note(f"See: {context.command_path} --help")
