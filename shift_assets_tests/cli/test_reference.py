"""The reference page of the commands says what the commands say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
COMMAND = ["-m", "typer", "shift_assets.cli.app", "utils", "docs", "--name", "shift-assets", "--title", "Commands"]


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    """typer writes it from the help texts; whoever changes one of these writes it again."""
    made = tmp_path / "commands.md"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHIFT_")}
    subprocess.run(
        [sys.executable, *COMMAND, "--output", str(made)],
        env=environment | {"PYTHONPATH": str(PAGE.parents[2])},
        check=True,
        capture_output=True,
    )
    renew = f"run: python {' '.join(COMMAND)} --output docs/reference/commands.md"
    assert made.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), renew
