"""Hooks of the documentation site: the benchmark results are a page of it, though they lie outside docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).parents[1] / "benchmarks" / "RESULTS.md"
PAGE = "reference/results.md"


def on_files(files: Files, config: Any) -> Files:
    """Add the benchmark results as a page."""
    files.append(File.generated(config, PAGE, content=RESULTS.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to the benchmark results to their page."""
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\((?:\.\./)+benchmarks/RESULTS\.md", f"({up}{PAGE}", markdown)
