"""Part of shift_assets.cli.render."""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from shift_assets.settings.config_file import ConfigError
from shift_assets.settings.root import home_from_environment

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of the installation.", envvar="SHIFT_HOME", show_default=".shift")
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


FromOption = Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")]


ToOption = Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")]


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
