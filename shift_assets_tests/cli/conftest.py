"""Calls of the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from shift_assets.cli.app import main


class CommandResult:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Call = Callable[..., CommandResult]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process, through the same `main` as the installed command."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["shift-assets", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as done:
            code = int(done.code or 0)
        result = capsys.readouterr()
        return CommandResult(code, result.out, result.err)

    return run
