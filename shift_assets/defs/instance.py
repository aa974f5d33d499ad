"""The Dagster instance of an installation."""

from __future__ import annotations

import dagster as dg

from shift_assets.workspace.home import write_instance_file
from shift_assets.workspace.workspace import Workspace


def open_instance(workspace: Workspace) -> dg.DagsterInstance:
    """The Dagster instance of the installation, with its databases; made where there is none."""
    write_instance_file(workspace.settings.home)
    return dg.DagsterInstance.from_config(str(workspace.settings.dagster_home))
