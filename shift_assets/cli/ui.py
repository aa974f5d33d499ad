"""The command that serves Dagster's UI."""

from __future__ import annotations

from typing import Annotated

import typer

from shift_assets.cli.options import HomeOption, home_of
from shift_assets.cli.render import print_line


def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI, on 127.0.0.1.")] = 3000,
) -> None:
    """Serve Dagster: the UI, and the daemon that runs sensors and schedules. Stop with Ctrl-C.

    Example: `shift-assets ui --port 3000`
    """
    from shift_assets.defs.instance import open_instance
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.ui import HOST, require_free, serve

    workspace = homes.open_workspace(home_of(home))
    require_free(port)
    open_instance(workspace).dispose()  # two processes that both create its databases would fail
    print_line(f"Dagster: http://{HOST}:{port}  (Ctrl-C stops it)")
    serve(workspace.settings.home, port)
