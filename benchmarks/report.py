"""Benchmark results: what benchmarks print, as JSON in `results/`, and `RESULTS.md` rendered from it.

A file of `results/` is one section: blocks of text and tables with what was found, edited by hand, and under `latest`
what the last run of the section's benchmark printed, with its command, code and machine. Then:

    python benchmarks/report.py          # renders RESULTS.md
    python benchmarks/report.py --check  # fails where RESULTS.md is not what the results render to
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
TARGET = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# Results

Rendered from `benchmarks/results/*.json` by `python benchmarks/report.py`; the benchmarks write those files.

Measured on a shared machine with 2 cores and 24 GiB, Python 3.11, no GPU. Other work ran alongside most of these runs,
so seconds are pessimistic: read ratios within one run, and processor time. Where a target was missed, it says so.
"""
_RULE = re.compile(r"^\|[\s:|-]+\|$")


class _Echo(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        return super().write(text)


@contextmanager
def recorded(section: str) -> Iterator[None]:
    """Store what is printed inside, text and Markdown tables, as the latest run of `results/<section>.json`.

    Nothing is stored where the run fails. A section that does not exist yet is made.
    """
    before = measured()
    with redirect_stdout(_Echo()) as printed:
        yield
    path = RESULTS / f"{section}.json"
    content: dict[str, Any] = {"title": section, "blocks": []}
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
    content["latest"] = {"measured": before, "blocks": blocks_of(printed.getvalue())}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measured() -> dict[str, str | int | float | None]:
    """When, with which code and command, and on what a benchmark is run."""
    git = ["git", "-C", str(TARGET.parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    return {
        "on": datetime.now(UTC).date().isoformat(),
        "commit": found.stdout.strip() or None,
        "command": " ".join(["python", *sys.argv]),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def blocks_of(markdown: str) -> list[dict[str, Any]]:
    """Texts (`text`: lines) and tables (`columns`, `align`, `rows` of cells) of a Markdown text, in order."""
    blocks: list[dict[str, Any]] = []
    text: list[str] = []
    lines = markdown.split("\n")
    while lines:
        line = lines.pop(0)
        if not (line.startswith("|") and lines and _RULE.match(lines[0])):
            text.append(line)
            continue
        columns, align, rows = _cells(line), _cells(lines.pop(0)), []
        while lines and lines[0].startswith("|"):
            rows.append(_cells(lines.pop(0)))
        blocks += [*_text_block(text), {"columns": columns, "align": align, "rows": rows}]
        text = []
    return [*blocks, *_text_block(text)]


def _text_block(lines: list[str]) -> list[dict[str, Any]]:
    stripped = "\n".join(lines).strip("\n")
    return [{"text": stripped.split("\n")}] if stripped.strip() else []


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def rendered() -> str:
    """The whole of RESULTS.md."""
    parts = [HEAD]
    for path in sorted(RESULTS.glob("*.json")):
        section = json.loads(path.read_text(encoding="utf-8"))
        parts += [f"## {section['title']}\n", *(_rendered(block) for block in section["blocks"])]
        if latest := section.get("latest"):
            on = latest["measured"]
            parts.append(
                f"### Latest run\n\n`{on['command']}`, {on['on']}, commit {on['commit']}, {on['cores']} cores, "
                f"load {on['load']} at its start.\n"
            )
            parts += [_rendered(block) for block in latest["blocks"]]
    return "\n".join(parts)


def _rendered(block: dict[str, Any]) -> str:
    if "text" in block:
        return "\n".join(block["text"]) + "\n"
    head, *body = (f"| {' | '.join(cells)} |" for cells in [block["columns"], *block["rows"]])
    return "\n".join([head, f"|{'|'.join(block['align'])}|", *body]) + "\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        TARGET.write_text(rendered(), encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != rendered():
        sys.exit("RESULTS.md differs from benchmarks/results; run: python benchmarks/report.py")
