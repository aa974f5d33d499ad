"""The comment of a column in DuckDB files and in the data dictionary."""

from __future__ import annotations

from shift_assets.contracts.table import Column


def column_comment(column: Column) -> str:
    """Meaning, unit and listed values of a column, in a line."""
    parts = [column.meaning]
    if column.unit:
        parts.append(f"[{column.unit}]")
    if column.allowed:
        parts.append(f"({', '.join(column.allowed)})")
    return " ".join(parts)
