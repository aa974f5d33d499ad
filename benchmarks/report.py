"""Benchmark results: measured tables as JSON in `results/`, and `RESULTS.md` rendered from them.

A file of `results/` is one section: blocks of text and tables, in order. A benchmark replaces its own tables with
`save`, which also prints them; the text around them is edited by hand in the JSON. Then:

    python benchmarks/report.py          # renders RESULTS.md
    python benchmarks/report.py --check  # fails where RESULTS.md is not what the results render to
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
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
Cell = str | int | float | None


def save(section: str, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a measured table and store it, with what it was measured on, as `table` of `results/<section>.json`.

    A table that the section does not show yet is added at its end; a section that does not exist yet is made.
    """
    content = {"columns": list(columns), "rows": [list(row) for row in rows], "measured": measured()}
    sys.stdout.write(rendered_table(content) + "\n")
    path = RESULTS / f"{section}.json"
    loaded: dict[str, Any] = (
        json.loads(path.read_text(encoding="utf-8"))
        if path.exists()
        else {"title": section, "blocks": [], "tables": {}}
    )
    loaded["tables"][table] = content
    if not any(block.get("table") == table for block in loaded["blocks"]):
        loaded["blocks"].append({"table": table})
    path.write_text(json.dumps(loaded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measured() -> dict[str, Cell]:
    """When, with which code and command, and on what a table was measured."""
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


def rendered_table(table: dict[str, Any]) -> str:
    """The table in Markdown; columns of numbers are aligned to the right."""
    columns, rows = table["columns"], table["rows"]
    rule = table.get("align") or [_rule([row[at] for row in rows]) for at in range(len(columns))]
    head, *body = (f"| {' | '.join(cells)} |" for cells in [columns, *([_text(cell) for cell in row] for row in rows)])
    return "\n".join([head, f"|{'|'.join(rule)}|", *body])


def _rule(cells: Sequence[Cell]) -> str:
    return "---:" if cells and all(isinstance(cell, int | float) for cell in cells) else "---"


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1_000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def rendered() -> str:
    """The whole of RESULTS.md."""
    parts = [HEAD]
    for path in sorted(RESULTS.glob("*.json")):
        section = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"## {section['title']}\n")
        for block in section["blocks"]:
            text = rendered_table(section["tables"][block["table"]]) if "table" in block else "\n".join(block["text"])
            parts.append(text + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        TARGET.write_text(rendered(), encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != rendered():
        sys.exit("RESULTS.md differs from benchmarks/results; run: python benchmarks/report.py")
