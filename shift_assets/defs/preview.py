"""What a person may see of a table's rows in the Dagster UI: up to ten, users masked, no raw bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

ROWS = 10
FEWEST_ROWS = 3
INLINE_CHARACTERS = 999
"""Dagster 1.13 shows longer Markdown behind a link only: fewer rows are better than none at first sight."""
_HIDDEN = {"raw", "raw_sha256", "text", "embedding"}
_MASKED = {"user_id"}
_IDENTIFIERS = {"event_id", "alert_id", "message_id", "file_sha256", "data_version", "digest"}
"""Long hexadecimal names, of which the first eight characters distinguish them."""
_SENTENCES = {"explanation", "detail", "observed"}
_NAMED_IN_EXPLANATION = {"rising", "falling"}
"""An alert's explanation names them."""
_LIST_MEMBERS_SHOWN = 3
_WIDEST = 60


def preview(rows: pa.Table) -> dg.MetadataValue:
    """The first rows as a Markdown table; columns of one value in all shown rows are named above it.

    A partition page is narrow: constant and empty columns would take the room of the others.
    """
    if not rows.num_rows:
        return dg.MetadataValue.md("no rows")
    texts = (_text(rows, count) for count in range(ROWS, FEWEST_ROWS - 1, -1))
    return dg.MetadataValue.md(next((text for text in texts if len(text) <= INLINE_CHARACTERS), _text(rows, ROWS)))


def _text(rows: pa.Table, count: int) -> str:
    shown = rows.slice(0, count)
    values = {
        name: [_cell(name, value) for value in shown[name].to_pylist()]
        for name in rows.column_names
        if name not in _HIDDEN and not (name in _NAMED_IN_EXPLANATION and "explanation" in rows.column_names)
    }
    if rows.num_rows == 1:
        return _table(["column", "value"], [(name, cells[0]) for name, cells in values.items()])
    same = [name for name in values if len(set(values[name])) == 1]
    varying = [name for name in values if name not in same]
    title = f"{shown.num_rows} of {rows.num_rows:,} rows"
    if equal := [f"{name} {values[name][0]}" for name in same if values[name][0]]:
        title += f"; in each of them {', '.join(equal)}"
    if empty := [name for name in same if not values[name][0]]:
        title += f"; null: {', '.join(empty)}"
    sentences = values.pop("explanation", [])  # too long for a cell of a narrow page
    varying = [name for name in varying if name in values]
    parts = [title, _table(varying, zip(*(values[name] for name in varying), strict=True))]
    if sentences:
        parts.append("\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1)))
    return "\n\n".join(parts)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("|" + "|".join(line) + "|" for line in (names, ["---"] * len(names), *rows))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _MASKED:
        return f"{value[:4]}…"
    if name in _IDENTIFIERS:
        return f"{value[:8]}…"
    if name == "payload":
        return f"{len(value)} characters of JSON"
    text = _readable(value).replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= _WIDEST or name in _SENTENCES else text[: _WIDEST - 1] + "…"


def _readable(value: Any) -> str:
    """A value for a person: short numbers, records as their values, arrays by their first members."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        inner = [value[name] for name in value if value[name] is not None]
        return " ".join(f"{part:.2g}" if isinstance(part, float) else _readable(part) for part in inner)
    if isinstance(value, list):
        more = f" … {len(value)} in all" if len(value) > _LIST_MEMBERS_SHOWN else ""
        return ", ".join(_readable(inner) for inner in value[:_LIST_MEMBERS_SHOWN]) + more
    return str(value)
