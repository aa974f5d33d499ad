"""The command that examines an installation."""

from __future__ import annotations

from dataclasses import asdict

import typer

from shift_assets.cli.options import HomeOption, JsonOption, home_of
from shift_assets.cli.render import print_findings, print_json


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check what the installation needs: home, calendar, engine, disk, key, landing, lake, BI files, port.

    Exit code 1 where a fault keeps it from working.

    Example: `shift-assets doctor`
    """
    from shift_assets.workspace.doctor import diagnose

    findings = diagnose(home_of(home))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_findings(findings)
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)
