"""Commands on stored data: export, erase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from shift_assets.cli.options import (
    FromOption,
    HomeOption,
    JsonOption,
    ToOption,
    home_of,
    home_option,
    require_order,
)
from shift_assets.cli.render import print_json, print_line, print_note
from shift_assets.errors import UserError


def complete_tables() -> list[str]:
    """Names of all tables, for the shell."""
    from shift_assets.contracts.registry import TABLES

    return list(TABLES)


def export(
    target: Annotated[Path, typer.Argument(help="File (duckdb) or folder (parquet, csv) to write.")],
    first: FromOption,
    last: ToOption,
    home: HomeOption = None,
    table: Annotated[
        list[str] | None,
        typer.Option(autocompletion=complete_tables, help="A table to export; repeat for more; else all."),
    ] = None,
    form: Annotated[Literal["duckdb", "parquet", "csv"], typer.Option("--format", help="What to write.")] = "duckdb",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a target that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write tables of a period to one DuckDB file, or to a folder with a Parquet or CSV file per table.

    Example: `shift-assets export exported --format csv --table shift_alerts --from 2011-11-12 --to 2011-12-09`

    It makes the folder `exported` with the file `shift_alerts.csv`.
    """
    from shift_assets.contracts.registry import TABLES
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.export import export as write

    require_order(first, last)
    workspace = homes.open_workspace(home_of(home))
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already; choose another target, or add --overwrite")
    written = write(workspace.lake, first, last, target, table or list(TABLES), form=form, overwrite=overwrite)
    if as_json:
        print_json({"target": written.target, "rows": written.rows})
        return
    print_line(f"{written.target}: {sum(written.rows.values()):,} rows of {len(written.rows)} tables")
    if not any(written.rows.values()):
        print_note("no table has rows in these days; `shift-assets run` makes them")


def erase(
    user: Annotated[str, typer.Option(help="The user's raw id, as in the source files.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove one user from every table and BI file; later rows of the user are not ingested.

    Example: `shift-assets erase --user 13085`
    """
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.erase import erase_user

    workspace = homes.open_workspace(home_of(home))
    erasure = erase_user(workspace, user)
    if as_json:
        print_json({"rows": erasure.rows, "days": list(erasure.days), "models_to_retrain": list(erasure.models)})
        return
    if not erasure.rows:
        print_line("no row of this user was found; check the id. Rows of this id that arrive later are not ingested")
        return
    print_line(f"removed {sum(erasure.rows.values()):,} rows of {len(erasure.rows)} tables; BI files rebuilt")
    if erasure.days:
        print_line("aggregates of the user's days, and models, still reflect the user until these days are run again:")
        print_line(f"shift-assets run --from {erasure.days[0]} --to {erasure.days[-1]}{home_option(home)}")
    if erasure.models:
        print_line(f"{len(erasure.models)} models were trained with the user; --json lists them")
