"""What the commands share: common options, printing, and progress on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

out = Console()


err = Console(stderr=True)


def print_line(line: str) -> None:
    """One line, never broken or coloured: it may hold a path, or a command to copy."""
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2, sort_keys=True, default=str, ensure_ascii=False) + "\n")


@contextmanager
def progress(message: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal, plain lines elsewhere, nothing when `quiet`."""
    if quiet:
        yield lambda _: None
        return
    with err.status(message) as status:

        def print_progress(line: str) -> None:
            err.print(line, markup=False, highlight=False, soft_wrap=True)
            status.update(line.strip())

        yield print_progress
