"""Asset checks: one per expectation of `shift_assets.quality`, partitioned, blocking where a failure must hold back.

What belongs here: reporting check results to Dagster. What an expectation means and how it is checked lies in
`shift_assets.quality`; the gate that no separate run can pass lies in the reader, `Workspace.read`.
"""

import re
from collections.abc import Iterator

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.contracts.recommendations import RECOMMENDATIONS
from shift_assets.contracts.shift import SHIFT_ALERTS, SHIFT_SIGNALS
from shift_assets.contracts.table import Table
from shift_assets.defs import partitions as keys
from shift_assets.quality.suites import Expectation, expectations
from shift_assets.workspace.workspace import Workspace

CHECKED = (CLEAN_EVENTS, INTEREST_SERIES, SHIFT_SIGNALS, SHIFT_ALERTS, RECOMMENDATIONS, MODEL_PREDICTIONS)
MAX_REPORTED_PARTITIONS = 500
"""A run over more partitions reports to Dagster only those that failed: an evaluation costs some milliseconds, and the
results of all of them are in the lake anyway. Dagster shows the others as planned."""


def all_checks(workspace: Workspace) -> list[dg.AssetChecksDefinition]:
    return [table_checks(workspace, table) for table in CHECKED] + [freshness()]


def check_name(sentence: str) -> str:
    """The sentence as a Dagster name: letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", sentence).strip("_").lower()


def table_checks(workspace: Workspace, table: Table) -> dg.AssetChecksDefinition:
    """The checks of one table, run together in one pass over all partitions of the run."""
    suite = {check_name(item.name): item for item in expectations(table, timezone=workspace.source.timezone)}

    @dg.multi_asset_check(
        name=f"expectations_of_{table.name}",
        specs=[
            dg.AssetCheckSpec(
                name,
                asset=table.name,
                description=item.name,
                blocking=item.blocking,
                partitions_def=keys.day_segment_partitions(workspace.settings, workspace.source),
            )
            for name, item in suite.items()
        ],
    )
    def checks(
        context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> Iterator[dg.AssetCheckResult]:
        from shift_assets.workspace.quality_gate import validate_and_store

        requested, timezone = keys.requested(context), workspace.source.timezone
        check_results = validate_and_store(workspace.lake, table, requested, context.run.run_id, timezone)
        for name, item in suite.items():
            yield from _check_results(
                context, table, name, item, check_results.filter(pc.equal(check_results["expectation"], item.name))
            )

    return checks


def _check_results(
    context: dg.AssetCheckExecutionContext, table: Table, name: str, item: Expectation, check_results: pa.Table
) -> Iterator[dg.AssetCheckResult]:
    rows = check_results.to_pylist()
    severity = dg.AssetCheckSeverity.ERROR if item.severity == "ERROR" else dg.AssetCheckSeverity.WARN
    failed = [row for row in rows if not row["passed"]]
    if len(rows) > 1:
        # A range run's own result speaks for no partition: dagster 1.13 takes the partition from single runs only.
        for row in rows if len(rows) <= MAX_REPORTED_PARTITIONS else failed:
            context.op_execution_context.log_event(
                dg.AssetCheckEvaluation(  # type: ignore[arg-type]  # accepted, though not in the signature
                    asset_key=dg.AssetKey(table.name),
                    check_name=name,
                    passed=row["passed"],
                    metadata={"observed": row["observed"]},
                    severity=severity,
                    blocking=item.blocking,
                    partition=f"{row['day'].isoformat()}|{row['segment']}",
                )
            )
    yield dg.AssetCheckResult(
        asset_key=table.name,
        check_name=name,
        passed=not failed,
        severity=severity,
        description=item.name,
        metadata={
            "partitions_judged": len(rows),
            "partitions_failed": len(failed),
            "observed": "; ".join(
                f"{row['day'].isoformat()}|{row['segment']}: {row['observed']}" for row in (failed or rows)[:5]
            ),
        },
    )


def freshness() -> dg.AssetChecksDefinition:
    """Whether clean_events has the newest landed day of every segment; it depends on the data, not on the clock."""

    @dg.asset_check(
        asset=CLEAN_EVENTS.name,
        name="yesterday_is_complete_for_every_segment",
        description="clean_events has the newest complete day of the landing folder for every segment",
    )
    def complete(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
        from shift_assets.ingest.readers.source_files import list_landing
        from shift_assets.quality.validation import validate_freshness

        calendar = workspace.settings.calendar
        days = [
            file.folder_day
            for file in list_landing(workspace.settings.landing).files
            if calendar.last_day is None or file.folder_day <= calendar.last_day
        ]
        if not days:
            return dg.AssetCheckResult(
                passed=False, severity=dg.AssetCheckSeverity.WARN, description="nothing has landed yet"
            )
        existing = {p: found.digest for p, found in workspace.lake.published(CLEAN_EVENTS).items()}
        check_results = validate_freshness(CLEAN_EVENTS, existing, max(days), workspace.source.segment_keys).to_pylist()
        missing = [row["segment"] for row in check_results if not row["passed"]]
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"day": max(days).isoformat(), "missing_segments": ", ".join(missing)},
        )

    return complete
