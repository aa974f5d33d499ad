"""What the commands share: common options, printing, and progress on a terminal."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from shift_assets.configfile import ConfigError
from shift_assets.settings import home_from_environment

out = Console()
err = Console(stderr=True)

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of the installation.", envvar="SHIFT_HOME", show_default=".shift")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
FromOption = Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")]
ToOption = Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")]


def print_line(line: str) -> None:
    """One line, never broken or coloured: it may hold a path, or a command to copy."""
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def home_of(home: Path | None) -> Path:
    return (home or home_from_environment()).resolve()


def home_option(home: Path | None) -> str:
    """` --home DIR`, as a shell reads it, where the caller named one; SHIFT_HOME and the default go without saying."""
    if home is None or os.environ.get("SHIFT_HOME") == str(home):
        return ""
    return f" --home {shlex.quote(str(home))}"


def check_order(first: datetime | None, last: datetime | None) -> None:
    if first and last and last < first:
        raise ConfigError(f"--to {last.date()} lies before --from {first.date()}")


def print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2, sort_keys=True, default=str, ensure_ascii=False) + "\n")


@contextmanager
def progress(message: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal, plain lines elsewhere, nothing when `quiet`."""
    if quiet:
        yield lambda _: None
        return
    with err.status(message) as status:

        def say(line: str) -> None:
            err.print(line, markup=False, highlight=False, soft_wrap=True)
            status.update(line.strip())

        yield say
