"""The commands under `shift-assets evaluate`: how good the results are, by themselves and against known answers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from shift_assets.cli.options import HomeOption, JsonOption, check_order, home_of
from shift_assets.cli.render import out, print_json, print_line, progress
from shift_assets.settings.config_file import ConfigError

if TYPE_CHECKING:
    from shift_assets.evaluate.splice_metrics import DetectorMetrics, Flagged

evaluate = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")


@evaluate.callback()
def report(
    context: typer.Context,
    home: HomeOption = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day; else the calendar's.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day; else the newest alert.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Quality report of what was materialised: rows, verdicts, alarms confirmed, recall.

    Example: `shift-assets evaluate --home my_shop --json`
    """
    context.obj = home
    if context.invoked_subcommand:
        return
    from shift_assets.contracts.shift import SHIFT_ALERTS
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.run_report import build_run_report

    check_order(first, last)
    workspace = homes.open_workspace(home_of(home))
    existing = sorted(partition.day for partition in workspace.lake.published(SHIFT_ALERTS))
    if not existing:
        raise ConfigError("nothing to evaluate yet; materialise some days first: shift-assets run --from D --to D")
    summary = build_run_report(
        workspace,
        first.date() if first else existing[0],
        last.date() if last else existing[-1],
        list(workspace.source.segment_keys),
    )
    print_json(summary.as_json()) if as_json else print_run_report(workspace, summary)


@evaluate.command()
def shifts(
    context: typer.Context,
    home: HomeOption = None,
    step: Annotated[str, typer.Option(help="What one unit of evidence is: day or week.")] = "day",
    seeds: Annotated[int, typer.Option(min=1, help="Draws of cuts and donors; more make the figures steadier.")] = 3,
    active_days: Annotated[
        int, typer.Option(min=2, max=16, help="Active days, or weeks, that a user needs before a cut and from it on.")
    ] = 8,
    as_json: JsonOption = False,
) -> None:
    """Can the detectors tell a user whose history goes on as another user's? On the log at hand, without labels.

    Users of a segment are spliced at a cut, wholly or in part, with a random, a like active or a nearest user, and
    scored against the same users left whole. Every score is written to evaluation/shift_scores.parquet.

    Example: `shift-assets evaluate shifts --home my_shop --step week --seeds 3`
    """
    from shift_assets.evaluate.splice_metrics import detector_metrics, flagged_shares
    from shift_assets.evaluate.splices import SCORES, detectors_of, evaluate_detectors, write_scores
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.landed import load_series

    if step not in ("day", "week"):
        raise ConfigError(f"--step {step}: expected day or week")
    workspace = homes.open_workspace(home_of(home or context.obj))
    settings = workspace.settings
    target = settings.evaluation / "shift_scores.parquet"
    with progress("reading the interest series", quiet=as_json) as on_progress:
        scored, skipped = evaluate_detectors(
            load_series(workspace),
            detectors_of(settings.evidence),
            step=cast("Literal['day', 'week']", step),
            seeds=[settings.seed + number for number in range(seeds)],
            active_days=active_days,
            on_progress=on_progress,
        )
        write_scores(scored, target)
        on_progress("bootstrap intervals")
        samples = settings.outcomes.bootstrap_samples
        found = detector_metrics(scored, samples=samples, seed=settings.seed)
        flagged = flagged_shares(scored, samples=samples, seed=settings.seed)
    if as_json:
        print_json(
            {
                "step": step,
                "seeds": seeds,
                "active_days": active_days,
                "segments": sorted({one.segment for one in scored}),
                "skipped": skipped,
                "scores": target,
                "columns": {name: meaning for name, (_, meaning) in SCORES.items()},
                "qualities": [nested(row) for row in found],
                "flagged": [nested(row) for row in flagged],
            }
        )
        return
    _print_qualities(found, flagged, active_days)
    for segment, why in skipped.items():
        print_line(f"segment {segment} was left out: {why}")
    print_line(f"Scores               {target}  (one row per history, detector and active day)")


@evaluate.command()
def forecasts(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Is the coming week of interest foretold better than by the last weeks? Every model, on weeks it has not seen.

    On the newest weeks of the log at hand, model by model, against the baselines `last_week` and `four_week_mean`.
    Nothing is written.

    Example: `shift-assets evaluate forecasts --home my_shop --json`
    """
    from shift_assets.outcomes.forecasts import forecast_report
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.landed import load_series

    workspace = homes.open_workspace(home_of(home or context.obj))
    settings = workspace.settings
    with progress("reading the interest series", quiet=as_json) as on_progress:
        series = load_series(workspace)
        on_progress("fitting and judging every model")
        found = forecast_report(series, settings.forecast, settings.seed) if series.num_rows else []
    if not found:
        weeks = settings.forecast.history_weeks + settings.forecast.training_weeks
        raise ConfigError(f"no segment has enough users in {weeks} weeks (forecast.history_weeks + training_weeks)")
    if as_json:
        print_json({"serving": settings.forecast.model, "models": found})
        return
    table = RichTable("segment", "model", "R²", "MSE", "MAE", "inside the band", "rows")
    for row in found:
        explained = "-" if row["r2"] is None else f"{row['r2']:.3f}"
        measures = (explained, f"{row['mse']:.5f}", f"{row['mae']:.4f}", f"{row['coverage']:.1%}")
        table.add_row(row["segment"], row["model"], *measures, f"{row['n_rows']:,}")
    out.print(table)


def nested(row: NamedTuple) -> dict[str, Any]:
    """A row for JSON: its estimates as value, low and high; what is not a number as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return {name: plain(part) for name, part in value._asdict().items()}  # type: ignore[attr-defined]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: plain(value) for name, value in row._asdict().items()}


def _print_qualities(found: Sequence[DetectorMetrics], flagged: Sequence[Flagged], active_days: int) -> None:
    """Detectors against shifts, then against what is no shift, both after all active days."""
    from shift_assets.contracts.shift import DONORS

    last = [row for row in found if row.active_days == active_days]
    for title, kinds, format_cell in (
        (
            f"AUC after {active_days}, and share found where 5 % of the unspliced are flagged",
            [row for row in last if row.kind in DONORS],
            lambda row: (
                f"{row.auc.value:.3f} ±{(row.auc.high - row.auc.low) / 2:.3f}  {row.recall_at_5_percent.value:.0%}"
            ),
        ),
        (
            "No shift: share flagged where 5 % of the unspliced are",
            [row for row in last if row.kind not in DONORS],
            lambda row: "silent" if row.silent == 1 else f"{row.recall_at_5_percent.value:.1%}",
        ),
    ):
        columns = list(dict.fromkeys((row.kind, row.kept) for row in kinds))
        table = RichTable(title=title, title_justify="left")
        table.add_column("detector", no_wrap=True)
        for kind, kept in columns:
            partial = f", {kept:.0%} kept" if kind in DONORS and kept else ""
            table.add_column(f"{kind.replace('_', ' ')}{partial}", justify="right")
        for detector in dict.fromkeys(row.detector for row in kinds):
            cells = {(row.kind, row.kept): format_cell(row) for row in kinds if row.detector == detector}
            table.add_row(detector, *(cells.get(column, "") for column in columns))
        out.print(table)
    for row in flagged:
        if row.kind == "unspliced" and row.active_days == active_days:
            out.print(
                f"Patience A = {row.patience:g}: {row.share.value:.2%} of the unspliced flagged, bound {row.bound:.1%}"
            )


def print_run_report(workspace: Any, summary: Any) -> None:
    table = RichTable(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rejected = sum(summary.rows_rejected.values())
    by_reason = ", ".join(f"{reason} {count:,}" for reason, count in summary.rows_rejected.items())
    by_kind = ", ".join(f"{kind} {count:,}" for kind, count in summary.alarms_opened.items()) or "none"
    table.add_row("Days", f"{summary.first_day} … {summary.last_day}, segments {', '.join(summary.segments)}")
    table.add_row("Rows delivered", f"{summary.rows_delivered:,}")
    table.add_row("  clean", f"{summary.rows_clean:,}")
    table.add_row("  rejected", f"{rejected:,}" + (f"  ({by_reason})" if by_reason else ""))
    table.add_row(
        "Quality gates", "all passed" if not summary.failed_expectations else "\n".join(summary.failed_expectations)
    )
    table.add_row("Users watched", f"{summary.users_watched:,}")
    table.add_row("Alarms opened", f"{sum(summary.alarms_opened.values()):,}  ({by_kind})")
    for example in summary.examples:
        table.add_row(
            "  for example",
            escape(f"{example['day']} {example['segment']} {example['kind']}: {example['explanation']}"),
        )
    table.add_row("Recommendations", f"{summary.recommendations:,} for {summary.users_with_recommendations:,} users")
    if summary.recall_at_k is not None:
        horizon = workspace.settings.outcomes.horizon_days
        table.add_row(
            f"  recall@{summary.k}",
            f"{summary.recall_at_k:.3f} on the {horizon} days after each list ({summary.users_judged:,} lists judged)",
        )
    if summary.patience_active_days is not None:
        measured = summary.placebo_false_share
        table.add_row(
            "  false ones",
            f"promised: at most one in {summary.patience_active_days:g} active days of a user; measured: "
            + (
                "not yet"
                if measured is None
                else f"{measured:.1%} of users with shuffled days, each over some 8 of them"
            ),
        )
    if summary.alarms_confirmed_share is not None:
        table.add_row(
            "  alarms confirmed",
            f"{summary.alarms_confirmed_share:.0%} of {summary.alarms_judged:,} that the days after could judge",
        )
    settings = workspace.settings
    out.print()
    out.print(table, soft_wrap=False)
    print_line(f"Tables               {settings.lake_root}  (Delta, one folder per table)")
    print_line(f"BI files             {settings.bi / 'bi_public.duckdb'}, bi_activation.duckdb")
    print_line(
        f"Look at it           shift-assets ui --home {shlex.quote(str(settings.home))}   → http://127.0.0.1:3000"
    )
