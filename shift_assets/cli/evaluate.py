"""Commands under `shift-assets evaluate`: the quality report, shift detectors and forecasts."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

import typer

from shift_assets.cli.options import DAY, HomeOption, JsonOption, home_of, parse_day, require_order
from shift_assets.cli.render import (
    json_row,
    print_detectors,
    print_forecasts,
    print_json,
    print_line,
    print_run_report,
    print_skipped,
    progress,
)
from shift_assets.errors import UserError


class Member(StrEnum):
    """A forecaster that is fitted."""

    LINEAR = "linear"
    FOREST = "forest"
    LSTM = "lstm"


def report(
    context: typer.Context,
    home: HomeOption = None,
    first: Annotated[
        date | None,
        typer.Option("--from", parser=parse_day, metavar=DAY, help="First day; else the first with alerts."),
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=parse_day, metavar=DAY, help="Last day; else the last with alerts.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Quality report of materialised days: rows, check results, share of alerts confirmed, recall@k.

    The subcommands evaluate detectors, forecasts and recommendations offline, on the log of the installation.

    Example: `shift-assets evaluate --home my_shop --json`
    """
    context.obj = home
    if context.invoked_subcommand:
        return
    from shift_assets.contracts.shift import SHIFT_ALERTS
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.run_report import build_run_report

    require_order(first, last)
    workspace = homes.open_workspace(home_of(home))
    existing = sorted(partition.day for partition in workspace.lake.published(SHIFT_ALERTS))
    if not existing:
        raise UserError("nothing to evaluate yet; materialise some days first: shift-assets run --from D --to D")
    summary = build_run_report(
        workspace, first or existing[0], last or existing[-1], list(workspace.source.segment_keys)
    )
    if as_json:
        print_json(summary.as_json())
    else:
        print_run_report(workspace, summary)


def shifts(
    context: typer.Context,
    home: HomeOption = None,
    step: Annotated[
        Literal["hour", "day", "week"],
        typer.Option(help="Length of one unit of evidence; hours need events with a time of day."),
    ] = "day",
    seeds: Annotated[
        int, typer.Option(min=1, help="Random draws of splice points and donors; more narrow the intervals.")
    ] = 3,
    active_days: Annotated[
        int,
        typer.Option(min=2, max=16, help="Active steps that a user needs before and after the splice."),
    ] = 8,
    as_json: JsonOption = False,
) -> None:
    """Offline evaluation of shift detectors on spliced histories, without labels (AUC, recall at 5 % flagged).

    From a splice point on, users of a segment continue with all or part of the history of another user: a random
    one, one of similar activity, or the nearest. They are scored against the same users' whole histories. All scores
    are written to evaluation/shift_scores.parquet in the home.

    Example: `shift-assets evaluate shifts --home my_shop --step week --seeds 3`
    """
    from shift_assets.evaluate.splice_metrics import detector_metrics, flagged_shares
    from shift_assets.evaluate.splices import SCORES, Alerting, detectors_of, evaluate_detectors, write_scores
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.landed import load_hourly_series, load_series
    from shift_assets.workspace.out_of_sample import without_learned_days

    workspace = homes.open_workspace(home_of(home or context.obj))
    settings = workspace.settings
    target = settings.evaluation / "shift_scores.parquet"
    with progress("reading the interest series") as on_progress:
        scored, skipped = evaluate_detectors(
            without_learned_days(load_hourly_series(workspace) if step == "hour" else load_series(workspace), settings),
            detectors_of(settings.evidence),
            step=step,
            seeds=[settings.seed + number for number in range(seeds)],
            active_days=active_days,
            alerting=Alerting(settings.evidence, settings.alerts.flagged_share),
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
                "qualities": [json_row(row) for row in found],
                "flagged": [json_row(row) for row in flagged],
            }
        )
        return
    print_detectors(found, flagged, active_days)
    print_skipped(skipped)
    print_line(f"Scores               {target}  (one row per history, detector and active day)")


def forecasts(
    context: typer.Context,
    home: HomeOption = None,
    members: Annotated[
        list[Member] | None, typer.Option("--members", help="A model to evaluate; repeat for more; else all but lstm.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Offline evaluation of next-week interest forecasts on held-out weeks (R², MSE, MAE, coverage).

    Models on the newest weeks of the log, against the baselines `last_week` and `four_week_mean`. The LSTM, which
    takes longer than all others together, only by `--members lstm`. Nothing is written.

    Example: `shift-assets evaluate forecasts --home my_shop --json`
    """
    from shift_assets.evaluate.forecasts import forecast_report
    from shift_assets.forecast.registry import BASELINES
    from shift_assets.workspace import home as homes
    from shift_assets.workspace.landed import load_series

    workspace = homes.open_workspace(home_of(home or context.obj))
    settings = workspace.settings
    with progress("reading the interest series") as on_progress:
        series = load_series(workspace)
        found = forecast_report(
            series,
            settings.forecast,
            settings.seed,
            refit_weekday=settings.schedule.refit_weekday,
            members={*BASELINES, *(members or (Member.LINEAR, Member.FOREST))},
            on_progress=on_progress,
        )
    if not found:
        weeks = settings.forecast.history_weeks + settings.forecast.training_weeks
        raise UserError(f"no segment has enough users in {weeks} weeks (forecast.history_weeks + training_weeks)")
    if as_json:
        print_json({"serving": settings.forecast.model, "models": found})
    else:
        print_forecasts(found)
