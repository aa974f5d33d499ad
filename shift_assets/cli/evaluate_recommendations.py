"""The commands under `shift-assets evaluate` that judge lists: sources, model and blend, on past days or sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.table import Table as RichTable

from shift_assets.cli.evaluate import nested
from shift_assets.cli.options import HomeOption, JsonOption, home_of
from shift_assets.cli.render import out, print_json, print_line, progress
from shift_assets.settings.config_file import ConfigError

if TYPE_CHECKING:
    from shift_assets.evaluate.after_shift import StretchMetrics
    from shift_assets.evaluate.contenders import ContenderResult
    from shift_assets.workspace.workspace import Workspace

OnProgress = Callable[[str], None]
LEAVE_ONE_OUT = "leave-one-out"


def recommendations(
    context: typer.Context,
    home: HomeOption = None,
    segment: Annotated[list[str] | None, typer.Option(help="Only this segment; may be given again.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Would the lists have held what users took next? Every source, the model and the blend, split by day.

    The newest days of the log are the test, as many before them choose, all before teaches. Every list ranks all
    items. `window`: what was taken in the test days, from the evening before; `window_new`: of that, items new to
    the user; `next_item`: each event from all events before it.

    Example: `shift-assets evaluate recommendations --home my_shop --json`
    """
    from shift_assets.evaluate.temporal_split import report
    from shift_assets.recommend.context import build_context

    def evaluated(workspace: Workspace, events: pa.Table, on_progress: OnProgress) -> Any:
        known = build_context(events, workspace.settings, workspace.parse_context.items)
        return report(known, workspace.settings, seed=workspace.settings.seed, on_progress=on_progress)

    found, skipped = _each_segment(home or context.obj, segment, evaluated, quiet=as_json)
    if as_json:
        segments = {
            key: {
                "borders": asdict(one.borders),
                "tasks": one.tasks,
                "blend": one.blend,
                "contenders": _as_json(one.evaluated),
            }
            for key, one in found.items()
        }
        print_json({"protocol": "day border", "segments": segments, "skipped": skipped})
        return
    for key, one in found.items():
        borders = one.borders
        _print_evaluated(f"{key}: test days {borders.test} to before {borders.end}", one.evaluated)
        for name, task in one.tasks.items():
            missed = f"{task['unreachable_share']:.0%} of what came could be in no list"
            print_line(f"{name}: {task['users']:,} users; {missed}")
    for key, why in skipped.items():
        print_line(f"segment {key} was left out: {why}")


def sequences(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Parquet: user_id, item_id and pos, the event's place in its user's.")],
    home: HomeOption = None,
    items: Annotated[Path | None, typer.Option(help="Parquet: item_id and any columns of attributes.")] = None,
    protocol: Annotated[str, typer.Option(help=f"What is held back: {LEAVE_ONE_OUT}.")] = LEAVE_ONE_OUT,
    as_json: JsonOption = False,
) -> None:
    """Sources, encoder and blend on a file of sequences, as the published tables have it.

    A user's last item is the test, the last but one chooses, the rest teaches; all items are ranked, the user's own
    are left out.

    Example: `shift-assets evaluate sequences sequences.parquet --items items.parquet --json`
    """
    from shift_assets.evaluate.leave_one_out import report
    from shift_assets.evaluate.sequence_file import SequenceFileError
    from shift_assets.settings.root import load_settings

    if protocol != LEAVE_ONE_OUT:
        raise ConfigError(f"--protocol {protocol}: expected {LEAVE_ONE_OUT}")
    settings = load_settings(home_of(home or context.obj))
    with progress(f"reading {file}", quiet=as_json) as on_progress:
        try:
            found = report(file, items, settings, seed=settings.seed, on_progress=on_progress)
        except SequenceFileError as error:
            raise ConfigError(str(error)) from error
    if as_json:
        print_json(
            {
                "protocol": protocol,
                "file": file,
                "items_file": items,
                "users": found.users,
                "items": found.items,
                "blend": found.blend,
                "contenders": _as_json(found.evaluated),
            }
        )
        return
    _print_evaluated(f"{file.name}: {found.users:,} users, {found.items:,} items, {protocol}", found.evaluated)


def reactions(
    context: typer.Context,
    home: HomeOption = None,
    segment: Annotated[list[str] | None, typer.Option(help="Only this segment; may be given again.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What are lists worth just after a shift, with reaction and without? Users go on as others, or as themselves.

    Example: `shift-assets evaluate reactions --home my_shop --json`
    """
    from shift_assets.evaluate.after_shift import report

    def evaluated(workspace: Workspace, events: pa.Table, on_progress: OnProgress) -> Any:
        return report(events, workspace.settings, seed=workspace.settings.seed, on_progress=on_progress)

    found, skipped = _each_segment(home or context.obj, segment, evaluated, quiet=as_json)
    if as_json:
        segments = {
            key: {
                "borders": one.borders,
                "pairs": one.pairs,
                "events_to_recover": one.events_to_recover,
                "rows": [nested(row) for row in one.rows],
            }
            for key, one in found.items()
        }
        print_json({"segments": segments, "skipped": skipped})
        return
    for key, one in found.items():
        _print_after_shift(f"{key}: {one.pairs:,} pairs of users from {len(one.borders)} days on", one.rows)
        for policy, events_needed in one.events_to_recover.items():
            events_text = "more than were seen" if events_needed is None else f"{events_needed:.0f}"
            print_line(f"Events until lists are worth 90 % of the user's own level, median, {policy}: {events_text}")
    for key, why in skipped.items():
        print_line(f"segment {key} was left out: {why}")


def _each_segment(
    home: Path | None,
    wanted: list[str] | None,
    evaluated: Callable[[Workspace, pa.Table, OnProgress], Any],
    *,
    quiet: bool,
) -> tuple[dict[str, Any], dict[str, str]]:
    """What `evaluated` finds in the events of every segment, and why segments were left out.

    Raises ConfigError where none could be judged.
    """
    from shift_assets.evaluate.temporal_split import NothingToEvaluate
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.landed import load_events

    workspace = homes.open_workspace(home_of(home))
    unknown = sorted(set(wanted or ()) - set(workspace.source.segment_keys))
    if unknown:
        raise ConfigError(f"--segment {unknown[0]}: unknown; known: {', '.join(workspace.source.segment_keys)}")
    found: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    with progress("reading the events", quiet=quiet) as on_progress:
        events = load_events(workspace)
        if events.num_rows == 0:
            raise ConfigError("nothing is landed yet: shift-assets land FILE")
        for key in wanted or workspace.source.segment_keys:
            try:
                found[key] = evaluated(workspace, events.filter(pc.field("segment") == key), on_progress)
            except NothingToEvaluate as reason:
                skipped[key] = str(reason)
    if not found:
        raise ConfigError("; ".join(f"segment {key}: {why}" for key, why in skipped.items()))
    return found, skipped


def _as_json(rows: Sequence[ContenderResult]) -> list[dict[str, Any]]:
    return [
        {
            "contender": row.contender,
            "task": row.task,
            **nested(row.quality),
            "training_cpu_seconds": row.training.cpu_seconds,
            "training_peak_memory_mib": row.training.peak_memory_mib,
            "scoring_cpu_seconds": row.scoring.cpu_seconds,
            "scoring_peak_memory_mib": row.scoring.peak_memory_mib,
        }
        for row in rows
    ]


def _print_evaluated(title: str, rows: Sequence[ContenderResult]) -> None:
    table = RichTable(title=title, title_justify="left")
    table.add_column("task", no_wrap=True)
    table.add_column("list from", no_wrap=True)
    for name in ("NDCG@10", "recall@20", "coverage", "fit s"):
        table.add_column(name, justify="right", no_wrap=True)
    task = None
    for row in rows:
        if task not in (None, row.task):
            table.add_section()
        task, found = row.task, row.quality
        table.add_row(
            row.task,
            row.contender,
            f"{found.ndcg_at_10.value:.4f}",
            _with_margin(found.recall_at_20),
            f"{found.coverage_at_20:.0%}",
            f"{row.training.cpu_seconds:.1f}",
        )
    out.print(table)


def _print_after_shift(title: str, rows: Sequence[StretchMetrics]) -> None:
    table = RichTable(title=title, title_justify="left")
    for name in ("served", "policy", "since the shift"):
        table.add_column(name, no_wrap=True)
    for name in ("looks", "recall@20", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    served = None
    for row in rows:
        if served not in (None, (row.serving, row.policy)):
            table.add_section()
        served = (row.serving, row.policy)
        gain = "" if row.recall_gain is None else f"{row.recall_gain.value:+.0%}"
        table.add_row(
            *(row.serving, row.policy, f"{row.unit} {row.first}–{row.last}" if row.users == "shifted" else "no shift"),
            *(f"{row.looks:,}", f"{row.recall_at_20:.3f}", gain),
        )
    out.print(table)


def _with_margin(estimate: Any) -> str:
    margin = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.3f} ±{margin:.3f}" if math.isfinite(margin) else f"{estimate.value:.3f}"
