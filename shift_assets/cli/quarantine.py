"""Commands on rejected rows: quarantine ls, quarantine replay."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Annotated

import typer

from shift_assets.cli.options import (
    DAY,
    FromOption,
    HomeOption,
    JsonOption,
    ToOption,
    home_of,
    home_option,
    parse_day,
    require_order,
)
from shift_assets.cli.render import print_json, print_line
from shift_assets.contracts.cleaning import REJECT_REASONS


def parse_reason(text: str) -> str:
    """The rejection reason `text`; raises BadParameter naming all of them."""
    if text not in REJECT_REASONS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, REJECT_REASONS))}.")
    return text


def ls(
    home: HomeOption = None,
    reason: Annotated[
        str | None,
        typer.Option(
            parser=parse_reason,
            metavar="REASON",
            autocompletion=lambda: list(REJECT_REASONS),
            help=f"Only rows rejected for this reason: {', '.join(REJECT_REASONS)}.",
        ),
    ] = None,
    first: Annotated[
        date | None, typer.Option("--from", parser=parse_day, metavar=DAY, help="First day; else the first of all.")
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=parse_day, metavar=DAY, help="Last day; else the last of all.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List rejected rows: source file, row and reason.

    Example: `shift-assets quarantine ls --reason bad_timestamp`
    """
    from shift_assets.ingest.quarantine import rejected_rows
    from shift_assets.workspace import home as homes

    require_order(first, last)
    workspace = homes.open_workspace(home_of(home))
    rows = rejected_rows(workspace.lake, reason=reason, first_day=first, last_day=last)
    shown = rows.select(["day", "segment", "source_file", "source_row", "reason", "detail"]).slice(0, limit).to_pylist()
    by_reason = dict(Counter(rows["reason"].to_pylist()).most_common())
    if as_json:
        print_json({"rows": rows.num_rows, "by_reason": by_reason, "shown": shown})
        return
    for row in shown:
        print_line(f"{row['source_file']}:{row['source_row']}  {row['reason']}: {row['detail']}")
    by_reason_text = f" ({', '.join(f'{name} {count:,}' for name, count in by_reason.items())})" if by_reason else ""
    more = f"; {len(shown)} shown, --limit shows more" if rows.num_rows > len(shown) else ""
    print_line(f"{rows.num_rows:,} rejected rows{by_reason_text}{more}")


def replay(first: FromOption, last: ToOption, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Find the days whose rejected rows the current source YAML accepts, and name the command that ingests them.

    Nothing is changed.

    Example: `shift-assets quarantine replay --from 2011-11-12 --to 2011-12-09`
    """
    from shift_assets.contracts.shift import INTEREST_STATE
    from shift_assets.ingest import quarantine
    from shift_assets.workspace import home as homes

    require_order(first, last)
    workspace = homes.open_workspace(home_of(home))
    accepted = quarantine.replay(workspace.lake, workspace.parse_context, first, last)
    if as_json:
        print_json([{"day": p.day, "segment": p.segment, "rows": rows} for p, rows in accepted.items()])
    elif not accepted:
        print_line("no rejected row of these days would be accepted now")
    else:
        days = [partition.day for partition in accepted]
        # Later days read the state of these: it, alerts and recommendations are computed again up to the newest.
        end = max([*days, *(partition.day for partition in workspace.lake.published(INTEREST_STATE))])
        print_line(
            f"{sum(accepted.values()):,} rejected rows of {len(set(days))} days would be accepted now; ingest them:"
        )
        print_line(f"shift-assets run --from {min(days)} --to {end}{home_option(home)}")
