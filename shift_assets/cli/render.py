"""Printing: results on standard output, progress, notes and errors on standard error."""

from __future__ import annotations

import json
import logging
import math
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, ConsoleDimensions
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from shift_assets.evaluate.after_shift import StretchMetrics
    from shift_assets.evaluate.bench import ShiftBenchmark
    from shift_assets.evaluate.contenders import ContenderResult
    from shift_assets.evaluate.splice_metrics import DetectorMetrics, Flagged
    from shift_assets.outcomes.estimates import Estimate
    from shift_assets.simulate.writer import Summary
    from shift_assets.workspace.doctor import Finding
    from shift_assets.workspace.run_report import ChurnReport, RunReport
    from shift_assets.workspace.workspace import Workspace

PRINTED = {"printed": True}
"""Extra of log records whose text the console shows anyhow; they are for the file."""
_UNFOLDED = 10_000
_log = logging.getLogger(__name__)


class _Console(Console):
    """A console that folds nothing off a terminal, where programs read and people search the lines."""

    @property  # type: ignore[misc]  # nobody sets the size of these
    def size(self) -> ConsoleDimensions:
        return super().size if self.is_terminal else ConsoleDimensions(_UNFOLDED, 25)


out = _Console()
err = _Console(stderr=True)


def print_line(line: str) -> None:
    """Print one line of a result, never broken or coloured: it may hold a path, or a command to copy."""
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def print_note(line: str) -> None:
    """Print one line that belongs to no result, on standard error."""
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def print_json(content: object) -> None:
    """Print one JSON document, the whole of standard output."""
    sys.stdout.write(json.dumps(content, indent=2, sort_keys=True, default=str, ensure_ascii=False) + "\n")


def print_error(label: str, message: str) -> None:
    """Print why the command ends."""
    err.print(Text(label, "bold red") + Text(f" {message}"), soft_wrap=True)


def print_traceback(error: BaseException) -> None:
    """Print where `error` was raised, in Python's own form."""
    err.print("".join(traceback.format_exception(error)), markup=False, highlight=False, soft_wrap=True, end="")


def print_defect(error: BaseException, log_file: Path | None) -> None:
    """Print an error that is ours: an apology, its traceback, and where the log lies."""
    print_traceback(error)
    print_error("defect", "shift-assets failed by a mistake of its own, not yours; we are sorry")
    where = f" and the log, {log_file}," if log_file else ""
    print_note(f"Please report the traceback above{where} to the maintainers. The same call may well fail again.")


_progress_shown = True


def show_progress(shown: bool) -> None:
    """Let `progress` print from now on, or only log."""
    global _progress_shown  # noqa: PLW0603 - one console, one command
    _progress_shown = shown


@contextmanager
def progress(message: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that reports progress on standard error, also with `--json`, and logs it.

    On a terminal a spinner shows that the newest line is still being worked on; elsewhere `message` is a line too.
    `--quiet` prints nothing and logs only.
    """
    if not _progress_shown:
        yield lambda line: _log.info(line.strip(), extra=PRINTED)
        return
    if not err.is_terminal:
        print_note(message)
    with err.status(message) as status:

        def report(line: str) -> None:
            _log.info(line.strip(), extra=PRINTED)
            print_note(line)
            status.update(line.strip())

        yield report


def json_row(row: NamedTuple) -> dict[str, object]:
    """A row for JSON: its estimates as value, low and high; what is not a number as null."""

    def plain(value: object) -> object:
        if isinstance(value, tuple):
            return {name: plain(part) for name, part in value._asdict().items()}  # type: ignore[attr-defined]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: plain(value) for name, value in row._asdict().items()}


def json_contenders(rows: Sequence[ContenderResult]) -> list[dict[str, object]]:
    """Contenders for JSON: ranking metrics, and what training and scoring cost."""
    return [
        {
            "contender": row.contender,
            "task": row.task,
            **json_row(row.quality),
            "training_cpu_seconds": row.training.cpu_seconds,
            "training_peak_memory_mib": row.training.peak_memory_mib,
            "scoring_cpu_seconds": row.scoring.cpu_seconds,
            "scoring_peak_memory_mib": row.scoring.peak_memory_mib,
        }
        for row in rows
    ]


def print_skipped(skipped: Mapping[str, str]) -> None:
    """Print which segments were left out, and why."""
    for segment, why in skipped.items():
        print_line(f"segment {segment} was left out: {why}")


def print_simulation(summary: Summary) -> None:
    """Print what a simulation wrote, and the command that goes on from it."""
    counts = summary.counts
    days = (summary.last_day - summary.first_day).days + 1
    print_line(
        f"{counts.events:,} events of {sum(summary.users_by_kind.values()):,} users on {days} days, "
        f"{summary.first_day} … {summary.last_day}, as {counts.rows:,} rows in {counts.files:,} files"
    )
    if counts.malformed or counts.duplicates or counts.late:
        print_line(
            f"of the rows: {counts.malformed:,} malformed, {counts.duplicates:,} duplicate, {counts.late:,} late"
        )
    print_line(
        "users by kind of shift: " + ", ".join(f"{kind} {count:,}" for kind, count in summary.users_by_kind.items())
    )
    if summary.promotion_days:
        print_line("promotion days: " + ", ".join(day.isoformat() for day in summary.promotion_days))
    print_line(f"landing: {summary.landing}")
    print_line(f"labels: {summary.labels}")
    print_line(f"source: {summary.source}")
    home, source = shlex.quote(str(summary.target)), shlex.quote(str(summary.source))
    print_line(f"next: shift-assets init --home {home} --source {source}")


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what the doctor found, a line each."""
    marks = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "fault": "[red]fault[/]"}
    for finding in findings:
        text = f"{marks[finding.level]} {escape(finding.subject)}: {escape(finding.text)}"
        out.print(text, highlight=False, soft_wrap=True)


def print_run_report(workspace: Workspace, summary: RunReport) -> None:
    """Print what a range of days came to, and where its tables and files lie."""
    table = RichTable(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _run_report_rows(summary, workspace.settings.outcomes.horizon_days):
        table.add_row(name, escape(value))
    settings = workspace.settings
    out.print()
    out.print(table, soft_wrap=False)
    print_line(f"Tables               {settings.lake_root}  (Delta, one folder per table)")
    print_line(f"BI files             {settings.bi / 'bi_public.duckdb'}, bi_activation.duckdb")
    print_line(
        f"Explore              shift-assets ui --home {shlex.quote(str(settings.home))}   → http://127.0.0.1:3000"
    )


def print_rows(rows: Mapping[str, int]) -> None:
    """Print the number of rows of some tables."""
    table = RichTable("table", "rows")
    table.columns[1].justify = "right"
    for name, number in rows.items():
        table.add_row(name, f"{number:,}")
    out.print(table)


def _run_report_rows(summary: RunReport, horizon_days: int) -> Iterator[tuple[str, str]]:
    rejected = sum(summary.rows_rejected.values())
    yield "Days", f"{summary.first_day} … {summary.last_day}, segments {', '.join(summary.segments)}"
    yield "Rows delivered", f"{summary.rows_delivered:,}"
    yield "  clean", f"{summary.rows_clean:,}"
    yield "  rejected", f"{rejected:,}" + (f"  ({_counts(summary.rows_rejected)})" if rejected else "")
    yield "Quality gates", "\n".join(summary.failed_expectations) or "all passed"
    yield "Users monitored", f"{summary.users_watched:,}"
    yield "Alerts opened", f"{sum(summary.alarms_opened.values()):,}  ({_counts(summary.alarms_opened) or 'none'})"
    for example in summary.examples:
        yield "  for example", f"{example['day']} {example['segment']} {example['kind']}: {example['explanation']}"
    yield (
        "Alerts open",
        (
            f"{sum(summary.alerts_open.values()):,} on {summary.last_day}, whether the user came or not  "
            f"({_counts(summary.alerts_open) or 'none'})"
        ),
    )
    if summary.patience_active_days is not None:
        yield "  before a check", f"at most one false alert per user in {summary.patience_active_days:g} active days"
    for segment, found in summary.self_checks.items():
        yield f"  {segment}", found
    if summary.alarms_confirmed_share is not None:
        yield (
            "  confirmed",
            f"{summary.alarms_confirmed_share:.0%} of the {summary.alarms_judged:,} alerts that could be evaluated "
            "on the days after",
        )
    yield from _churn_rows(summary.churn)
    yield "Recommendations", f"{summary.recommendations:,} for {summary.users_with_recommendations:,} users"
    if summary.recall_at_k is not None:
        yield (
            f"  recall@{summary.k}",
            f"{summary.recall_at_k:.3f} on the {horizon_days} days after each slate ({summary.users_judged:,} slates)",
        )


def _churn_rows(churn: ChurnReport) -> Iterator[tuple[str, str]]:
    if churn.warnings_confirmed_share is not None:
        yield (
            "Churn warnings",
            f"{churn.warnings_confirmed_share:.0%} of {churn.warnings_evaluated:,} warned users stayed away 28 days "
            f"(stated: {churn.stated_precision:.0%})",
        )
    if churn.auc is not None:
        yield (
            "Churn probability",
            f"AUC {churn.auc:.3f}, Brier score {churn.brier:.3f} (by the visits alone {churn.visits_brier:.3f}), "
            f"{churn.predictions_evaluated:,} predictions after 28 days",
        )
    if churn.segments_without_threshold:
        yield (
            "No churn warnings",
            f"{', '.join(churn.segments_without_threshold)}: at no threshold did {churn.stated_precision:.0%} of the "
            "users warned on past days stay away (95 % confidence). Lower churn.precision, or wait for more visits",
        )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def print_forecasts(rows: Sequence[Mapping[str, object]]) -> None:
    """Print forecast errors per segment and model."""
    table = RichTable("segment", "model", "R²", "MSE", "MAE", "inside the band", "rows")
    for row in rows:
        explained = "-" if row["r2"] is None else f"{row['r2']:.3f}"
        measures = (explained, f"{row['mse']:.5f}", f"{row['mae']:.4f}", f"{row['coverage']:.1%}")
        table.add_row(str(row["segment"]), str(row["model"]), *measures, f"{row['n_rows']:,}")
    out.print(table)


def print_detectors(found: Sequence[DetectorMetrics], flagged: Sequence[Flagged], active_days: int) -> None:
    """Print detectors on histories with a shift, then on those without, each after all active days."""
    from shift_assets.contracts.shift import DONORS

    last = [row for row in found if row.active_days == active_days]
    _print_detector_table(
        f"AUC after {active_days}, and recall where 5 % of the unspliced are flagged",
        [row for row in last if row.kind in DONORS],
        lambda row: f"{_with_margin(row.auc)}  {row.recall_at_5_percent.value:.0%}",
    )
    _print_detector_table(
        "No shift: share flagged where 5 % of the unspliced are",
        [row for row in last if row.kind not in DONORS],
        lambda row: "no score" if row.silent == 1 else f"{row.recall_at_5_percent.value:.1%}",
    )
    for row in flagged:
        if row.kind == "unspliced" and row.active_days == active_days:
            print_line(
                f"Threshold A = {row.patience:g}: {row.share.value:.2%} of the unspliced flagged, bound {row.bound:.1%}"
            )


def print_benchmark(title: str, found: ShiftBenchmark) -> None:
    """Print detectors on spliced histories, a section per share of the user's own days that remains."""
    table = RichTable()
    table.add_column("detector", no_wrap=True)
    for name in ("replaced", "AUC", "recall at 1 %", "recall at 5 %", "share of bound", "found", "flagged"):
        table.add_column(name, justify="right", no_wrap=True)
    kept = found.rows[0].kept
    for row in found.rows:
        if row.kept != kept:
            table.add_section()
        kept = row.kept
        table.add_row(
            row.detector,
            f"{1 - row.kept:.0%}",
            _with_margin(row.auc),
            f"{row.recall_at_1_percent.value:.0%}",
            f"{row.recall_at_5_percent.value:.0%}",
            f"{row.share_of_bound:.2f}" if math.isfinite(row.share_of_bound) else "-",
            "" if row.found is None else f"{row.found:.1%}",
            "" if row.flagged is None else f"{row.flagged:.1%}",
        )
    _print_titled(title, table)
    if found.note:
        print_line(found.note)


def _print_detector_table(
    title: str, rows: Sequence[DetectorMetrics], format_cell: Callable[[DetectorMetrics], str]
) -> None:
    from shift_assets.contracts.shift import DONORS

    columns = list(dict.fromkeys((row.kind, row.kept) for row in rows))
    table = RichTable()
    table.add_column("detector", no_wrap=True)
    for kind, kept in columns:
        partial = f", {kept:.0%} kept" if kind in DONORS and kept else ""
        table.add_column(f"{kind.replace('_', ' ')}{partial}", justify="right")
    for detector in dict.fromkeys(row.detector for row in rows):
        cells = {(row.kind, row.kept): format_cell(row) for row in rows if row.detector == detector}
        table.add_row(detector, *(cells.get(column, "") for column in columns))
    _print_titled(title, table)


def print_contenders(title: str, rows: Sequence[ContenderResult]) -> None:
    """Print ranking metrics of candidate generators, model and blend, a section per task."""
    table = RichTable()
    table.add_column("task", no_wrap=True)
    table.add_column("ranked by", no_wrap=True)
    for name in ("NDCG@10", "recall@20", "coverage@20", "fit s"):
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
    _print_titled(title, table)


def print_after_shift(title: str, rows: Sequence[StretchMetrics]) -> None:
    """Print recall of the per-user policies over stretches after a shift."""
    table = RichTable()
    for name in ("served", "policy", "since the shift"):
        table.add_column(name, no_wrap=True)
    for name in ("predictions", "recall@20", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    served = None
    for row in rows:
        if served not in (None, (row.serving, row.policy)):
            table.add_section()
        served = (row.serving, row.policy)
        gain = "" if row.recall_gain is None else f"{row.recall_gain.value:+.0%}"
        since = f"{row.unit} {row.first}–{row.last}" if row.users == "shifted" else "no shift"
        table.add_row(row.serving, row.policy, since, f"{row.looks:,}", f"{row.recall_at_20:.3f}", gain)
    _print_titled(title, table)


def _print_titled(title: str, table: RichTable) -> None:
    print_line(title)
    out.print(table)


def _with_margin(estimate: Estimate) -> str:
    margin = (estimate.high - estimate.low) / 2
    return f"{estimate.value:.3f} ±{margin:.3f}" if math.isfinite(margin) else f"{estimate.value:.3f}"
