"""Commands under `shift-assets bench`: benchmarks on a log that was never landed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shift_assets.cli.options import JsonOption
from shift_assets.cli.render import json_row, print_benchmark, print_json, print_line, progress
from shift_assets.errors import UserError

_ROLES = ("user", "item", "day")


def shifts(
    file: Annotated[Path, typer.Argument(help="Parquet, or CSV with a header; one row per event.")],
    columns: Annotated[
        str,
        typer.Option(
            metavar="user=U,item=I,day=D",
            help="Columns of user, item and day (date, timestamp or Unix seconds); item for --learn-groups only.",
        ),
    ],
    category: Annotated[
        str | None, typer.Option(help="Column of the category, taken as it is; else --learn-groups.")
    ] = None,
    learn_groups: Annotated[
        int | None,
        typer.Option(min=2, help="Group items by co-occurrence on half of the users; the other half is evaluated."),
    ] = None,
    active_days: Annotated[
        int, typer.Option(min=2, max=16, help="Active days that a user needs before and after the splice.")
    ] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="Random draws of splice points and donors.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Benchmark of detectors of user-interest shift on any log, without labels (AUC, recall at 1 % and 5 % flagged).

    From a splice point on, users continue with all or part of the history of a random other user; detectors separate
    them from the same users' unspliced histories. `known_cut` knows the splice point: the bound. Needs no
    installation and writes nothing; from Python: `shift_assets.evaluate.bench`.

    Example: `shift-assets bench shifts log.parquet --columns user=uid,item=sku,day=date --learn-groups 40`
    """
    from shift_assets.evaluate.bench import bench_shifts
    from shift_assets.evaluate.event_file import read_events

    roles = _parse_columns(columns)
    if (category is None) == (learn_groups is None):
        raise UserError("give either --category COLUMN, or --learn-groups N to group the items")
    name = category or roles.get("item")
    if name is None:
        raise UserError(f"--columns {columns}: item is missing; --learn-groups needs it: user=U,item=I,day=D")
    with progress(f"reading {file}") as on_progress:
        log = read_events(file, user=roles["user"], day=roles["day"], name=name)
        found = bench_shifts(
            log.events,
            learn_groups=learn_groups,
            active_days=active_days,
            seeds=range(seeds),
            on_progress=on_progress,
        )
    if as_json:
        print_json(
            {
                "file": file,
                "incomplete_rows": log.incomplete,
                "users": found.users,
                "categories": found.categories,
                "active_days": active_days,
                "seeds": seeds,
                "detectors": [json_row(row) for row in found.rows],
                "note": found.note,
            }
        )
        return
    print_benchmark(f"{file.name}: {found.users:,} users, {found.categories:,} categories", found)
    if log.incomplete:
        print_line(f"{log.incomplete:,} rows without user, day or {name} were left out")


def _parse_columns(text: str) -> dict[str, str]:
    """The delivered column of each role."""
    pairs = [part.partition("=") for part in text.split(",")]
    roles = {role.strip(): column.strip() for role, _, column in pairs}
    wrong = [role for role, column in roles.items() if role not in _ROLES or not column]
    if wrong or len(roles) < len(pairs) or not {"user", "day"} <= roles.keys():
        raise UserError(f"--columns {text}: expected user=U,item=I,day=D, with the names of columns of the file")
    return roles
