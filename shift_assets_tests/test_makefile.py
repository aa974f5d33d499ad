"""Laws of the Makefile: a bare `make` starts nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

MAKEFILE = Path(__file__).parents[1] / "Makefile"


def test_bare_make_lists_every_target_and_starts_nothing(tmp_path: Path) -> None:
    """Without a target `make` prints each phony target with a sentence, and makes no file."""
    done = subprocess.run(["make", "-f", MAKEFILE], cwd=tmp_path, capture_output=True, text=True, check=True)
    (phony,) = re.findall(r"(?m)^\.PHONY: (.*)$", MAKEFILE.read_text(encoding="utf-8"))
    listed = dict(re.findall(r"(?m)^make (\S+) +(\S.*)$", done.stdout))
    assert set(listed) == set(phony.split())
    assert {"help", "demo", "ui", "test"} <= set(listed)
    assert not list(tmp_path.iterdir())
