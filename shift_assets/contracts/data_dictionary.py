"""The data dictionary, generated from the contracts.

python -m shift_assets.contracts.data_dictionary > docs/data_dictionary.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import pyarrow as pa

from shift_assets.contracts.bi_files import ACTIVATION_FILE
from shift_assets.contracts.comments import column_comment
from shift_assets.contracts.marts import GENERATION, PUBLIC, RECENT_DAYS, RECENT_TABLES
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.table import Column, Table

_HEAD = """\
# Data dictionary

Generated from `shift_assets/contracts/`; change those, then run
`python -m shift_assets.contracts.data_dictionary > docs/data_dictionary.md`.

A share lies between 0 and 1. A user id is always a pseudonym. `null?` says whether a value may be missing.
"""

_PUBLIC_HEAD = """
Aggregates only. A cell of fewer than `public.minimum_users` users (default 10) is withheld: its values are null and
`suppressed` is true. As soon as one cell of a segment's day is withheld, the smallest one that could be shown is
withheld as well, so that no withheld cell, and no group of too few users, follows from a sum. Two limits are known:
a cell of many users may still be dominated by one of them, and two publications of one day that differ by a late
event may be compared.
"""

_ACTIVATION_HEAD = f"""
Per-pseudonym tables, readable by owner and group only. Besides those below it holds
{", ".join(f"`{table.name}`" for schema, table in ACTIVATION_FILE.tables if schema == "base")}
as in the lake, and `_generation` as above. What has a row per user and day whether or not anything happened
({", ".join(f"`{name}`" for name in sorted(RECENT_TABLES))}) reaches {RECENT_DAYS} days back here; the lake holds all.
"""


def dictionary() -> str:
    """The whole dictionary, as Markdown."""
    marts = [table for schema, table in ACTIVATION_FILE.tables if schema == "marts"]
    lines = [
        _HEAD,
        "## Lake (`lake/`, one Delta table each)",
        *_sections(TABLES.values()),
        "## `bi/bi_public.duckdb`",
        _PUBLIC_HEAD,
        *_sections([*PUBLIC.values(), GENERATION]),
        "## `bi/bi_activation.duckdb`",
        _ACTIVATION_HEAD,
        *_sections(marts),
    ]
    return "\n".join(lines)


def _sections(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        yield f"\n### {table.name}\n"
        yield f"{table.description}.\n"
        yield f"- **Grain**: {table.grain}"
        yield f"- **Key**: {', '.join(f'`{name}`' for name in table.key)}"
        yield f"- **Read by**: {table.consumer}\n"
        yield "| column | type | null? | meaning |"
        yield "|---|---|---|---|"
        for column in table.columns:
            null = "yes" if column.nullable else ""
            yield f"| `{column.name}` | {_type(column.type)} | {null} | {_meaning(column)} |"
        yield ""


def _meaning(column: Column) -> str:
    bounds = [
        f"{sign} {bound:g}" for sign, bound in (("≥", column.minimum), ("≤", column.maximum)) if bound is not None
    ]
    text = column_comment(column) + (f"; {', '.join(bounds)}" if bounds else "")
    return text.replace("|", "\\|")


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(f"{field.name}: {_type(field.type)}" for field in kind) + "}"
    return {"date32[day]": "date", "timestamp[us, tz=UTC]": "timestamp µs, UTC"}.get(str(kind), str(kind))


if __name__ == "__main__":
    sys.stdout.write(dictionary())
