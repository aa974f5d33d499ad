"""Commands under `shift-assets evaluate` for recommendations: past days, a file of sequences, after a shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from shift_assets.cli.options import HomeOption, JsonOption, home_of, require_segments
from shift_assets.cli.render import (
    json_contenders,
    json_row,
    print_after_shift,
    print_contenders,
    print_json,
    print_line,
    print_skipped,
    progress,
)
from shift_assets.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from shift_assets.evaluate import after_shift, temporal_split
    from shift_assets.workspace.workspace import Workspace

OnProgress = Callable[[str], None]
Result = TypeVar("Result")
SegmentOption = Annotated[list[str] | None, typer.Option(help="One segment; repeat for more; else all.")]


def recommendations(
    context: typer.Context, home: HomeOption = None, segment: SegmentOption = None, as_json: JsonOption = False
) -> None:
    """Offline ranking evaluation with a temporal split (recall@20, NDCG@10).

    Every candidate generator, the model and the blend. The newest days are the test set, as many days before them the
    validation set, all earlier days the training set; every ranking is over all items. Task `window`: items of the
    test days, predicted from the evening before; `window_new`: of these, items new to the user; `next_item`: each
    event, predicted from all events before it.

    Example: `shift-assets evaluate recommendations --home my_shop --json`
    """
    from shift_assets.evaluate.temporal_split import report
    from shift_assets.recommend.context import build_context

    def evaluate(workspace: Workspace, events: pa.Table, on_progress: OnProgress) -> temporal_split.Report:
        known = build_context(events, workspace.settings, workspace.parse_context.items)
        return report(known, workspace.settings, seed=workspace.settings.seed, on_progress=on_progress)

    found, skipped = _each_segment(home or context.obj, segment, evaluate)
    if as_json:
        segments = {
            key: {
                "borders": asdict(one.borders),
                "tasks": one.tasks,
                "blend": one.blend,
                "contenders": json_contenders(one.evaluated),
            }
            for key, one in found.items()
        }
        print_json({"protocol": "day border", "segments": segments, "skipped": skipped})
        return
    for key, one in found.items():
        borders = one.borders
        print_contenders(f"{key}: test days {borders.test} to before {borders.end}", one.evaluated)
        for name, task in one.tasks.items():
            print_line(f"{name}: {task['users']:,} users; {task['unreachable_share']:.0%} of the targets not rankable")
    print_skipped(skipped)


def sequences(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Parquet: user_id, item_id and pos, the event's rank in its history.")],
    home: HomeOption = None,
    items: Annotated[Path | None, typer.Option(help="Parquet: item_id and any columns of attributes.")] = None,
    protocol: Annotated[Literal["leave-one-out"], typer.Option(help="What is held out.")] = "leave-one-out",
    as_json: JsonOption = False,
) -> None:
    """Offline ranking evaluation on a file of sequences, leave-one-out as in published results (recall@20, NDCG@10).

    Candidate generators, encoder and blend. A user's last item is the test target, the one before it the validation
    target, the rest is training; every ranking is over all items but those of the user's own history.

    Example: `shift-assets evaluate sequences sequences.parquet --items items.parquet --json`
    """
    from shift_assets.evaluate.leave_one_out import report
    from shift_assets.evaluate.sequence_file import SequenceFileError
    from shift_assets.settings.root import load_settings

    settings = load_settings(home_of(home or context.obj))
    with progress(f"reading {file}") as on_progress:
        try:
            found = report(file, items, settings, seed=settings.seed, on_progress=on_progress)
        except SequenceFileError as error:
            raise UserError(str(error)) from error
    if as_json:
        print_json(
            {
                "protocol": protocol,
                "file": file,
                "items_file": items,
                "users": found.users,
                "items": found.items,
                "blend": found.blend,
                "contenders": json_contenders(found.evaluated),
            }
        )
        return
    print_contenders(f"{file.name}: {found.users:,} users, {found.items:,} items, {protocol}", found.evaluated)


def reactions(
    context: typer.Context, home: HomeOption = None, segment: SegmentOption = None, as_json: JsonOption = False
) -> None:
    """Offline ranking evaluation right after a shift, with shift adaptation and without (recall@20, gain).

    Users continue with another user's history, or with their own as the control.

    Example: `shift-assets evaluate reactions --home my_shop --json`
    """
    from shift_assets.evaluate.after_shift import report

    def evaluate(workspace: Workspace, events: pa.Table, on_progress: OnProgress) -> after_shift.Report:
        return report(events, workspace.settings, seed=workspace.settings.seed, on_progress=on_progress)

    found, skipped = _each_segment(home or context.obj, segment, evaluate)
    if as_json:
        segments = {
            key: {
                "borders": one.splice_days,
                "pairs": one.pairs,
                "events_to_recover": one.events_to_recover,
                "rows": [json_row(row) for row in one.rows],
            }
            for key, one in found.items()
        }
        print_json({"segments": segments, "skipped": skipped})
        return
    for key, one in found.items():
        print_after_shift(f"{key}: {one.pairs:,} pairs of users, {len(one.splice_days)} start days", one.rows)
        for policy, events_needed in one.events_to_recover.items():
            events_text = "more than observed" if events_needed is None else f"{events_needed:.0f}"
            print_line(f"Median events until 90 % of the user's own recall, {policy}: {events_text}")
    print_skipped(skipped)


def _each_segment(
    home: Path | None,
    named: list[str] | None,
    evaluate: Callable[[Workspace, pa.Table, OnProgress], Result],
) -> tuple[dict[str, Result], dict[str, str]]:
    """The result of `evaluate` on the events of each segment, and why the others were left out.

    Raises:
        UserError: A named segment does not exist, nothing is landed, or no segment could be evaluated.
    """
    import pyarrow.compute as pc

    from shift_assets.evaluate.temporal_split import NothingToEvaluate
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.landed import load_events

    workspace = homes.open_workspace(home_of(home))
    require_segments(named or [], workspace.source.segment_keys)
    found: dict[str, Result] = {}
    skipped: dict[str, str] = {}
    with progress("reading the events") as on_progress:
        events = load_events(workspace)
        if events.num_rows == 0:
            raise UserError("nothing is landed yet: shift-assets land FILE")
        for key in named or workspace.source.segment_keys:
            on_progress(f"segment {key}")
            try:
                found[key] = evaluate(workspace, events.filter(pc.field("segment") == key), on_progress)
            except NothingToEvaluate as reason:
                skipped[key] = str(reason)
    if not found:
        raise UserError("\n".join(f"segment {key}: {why}" for key, why in skipped.items()))
    return found, skipped
