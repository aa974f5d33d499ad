"""What a person may see of a table's rows in the Dagster UI: ten rows, users masked, no delivered bytes."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow as pa

ROWS = 10
_HIDDEN = {"raw", "raw_sha256", "text"}
_MASKED = {"user_id"}
_WIDEST = 60


def preview(rows: pa.Table) -> dg.MetadataValue:
    """The first rows as a Markdown table."""
    names = [name for name in rows.column_names if name not in _HIDDEN]
    if not rows.num_rows:
        return dg.MetadataValue.md("no rows")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows.slice(0, ROWS).select(names).to_pylist():
        lines.append("| " + " | ".join(_cell(name, value) for name, value in row.items()) + " |")
    return dg.MetadataValue.md("\n".join(lines))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _MASKED:
        return f"{value[:4]}…"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
