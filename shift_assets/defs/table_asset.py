"""How a table becomes an asset: a `TableAsset` says what it reads, how its rows are computed and what people see of it.

What does not belong here: any knowledge of a particular table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, cast

import dagster as dg
import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table
from shift_assets.defs.failures import final_unless_transient
from shift_assets.defs.kinds import kinds_of
from shift_assets.defs.partitions import requested
from shift_assets.defs.publishing import (
    already_reported,
    input_version_tags,
    report_materializations,
    shape_of,
    version,
)
from shift_assets.settings.root import Settings
from shift_assets.workspace.workspace import Workspace

OWNER = "team:shift-assets"


CHUNK_DAYS = 62
"""Days of a range run that are computed and committed together: two months of rows fit in memory."""


@dataclass(frozen=True)
class TableAsset:
    """Everything that makes one table an asset.

    `compute(workspace, partitions)` returns the rows of all `partitions`, in the table's contract.
    `metrics(rows)` names numbers of one partition, which Dagster plots over partitions.
    `plot(workspace, rows)` draws the run's rows as PNG.
    """

    table: Table
    group: str
    deps: Sequence[dg.AssetDep | str]
    compute: Callable[[Workspace, list[Partition]], pa.Table]
    sections: Sequence[str] = ()
    """Settings that the rows depend on."""
    metrics: Callable[[pa.Table], Mapping[str, float]] = field(default=lambda _: {})
    plot: Callable[[Workspace, pa.Table], bytes | None] = field(default=lambda _workspace, _rows: None)
    single_run: bool = True
    pool: str | None = None
    chunk_days: int = CHUNK_DAYS
    automation: dg.AutomationCondition[Any] | None = None
    name: str | None = None
    """Name of the asset where it is not the table's."""

    @property
    def key(self) -> str:
        return self.name or self.table.name


def build_asset(asset: TableAsset, partitions: dg.PartitionsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """The Dagster asset of one table."""

    @dg.asset(
        name=asset.key,
        partitions_def=partitions,
        deps=asset.deps,
        pool=asset.pool,
        backfill_policy=backfill_policy(asset.single_run),
        automation_condition=asset.automation,
        retry_policy=TRANSIENT_RETRY,
        **table_attributes(
            asset.table,
            asset.group,
            kinds_of(asset.compute),
            version(asset.compute, settings, asset.sections, shape_of(asset.table)),
        ),
    )
    def definition(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> Iterator[dg.MaterializeResult]:
        for chunk in chunks_of_days(requested(context), asset.chunk_days):
            with final_unless_transient():
                inputs = input_version_tags(context, asset.key)
                claim = workspace.lake.claim(asset.table, chunk, context.run_id)
                rows = asset.table.conform(asset.compute(workspace, chunk))
                published = workspace.lake.publish(asset.table, rows, claim)
                plot = asset.plot(workspace, rows)
            report_materializations(context, asset.key, rows, published, inputs, metrics=asset.metrics, plot=plot)
            context.log.info(f"{asset.key}: {rows.num_rows:,} rows in {len(chunk)} partitions")
        yield already_reported(asset.key)

    return cast(dg.AssetsDefinition, definition)


TRANSIENT_RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def backfill_policy(single_run: bool) -> dg.BackfillPolicy:
    return dg.BackfillPolicy.single_run() if single_run else dg.BackfillPolicy.multi_run(1)


def table_attributes(table: Table, group: str, kinds: Iterable[str], version: str) -> dict[str, Any]:
    """What the catalogue shows of a table: description, owner, kinds, column schema."""
    return {
        "group_name": group,
        "kinds": {"deltalake", *kinds},
        "owners": [OWNER],
        "code_version": version,
        "description": (
            f"{table.description}.\n\n**Grain**: {table.grain}.\n\n**Key**: {', '.join(table.key)}.\n\n"
            f"**Read by**: {table.consumer}."
        ),
        "metadata": {"dagster/column_schema": column_schema(table), "dagster/table_name": table.name},
    }


def column_schema(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.type),
                description=column.meaning + (f" [{column.unit}]" if column.unit else ""),
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(other=[f"key: {', '.join(table.key)}"]),
    )


def chunks_of_days(partitions: list[Partition], days: int) -> Iterator[list[Partition]]:
    """Consecutive runs of `partitions` that span at most `days` days each."""
    first: date | None = None
    chunk: list[Partition] = []
    for partition in partitions:
        if first is None or partition.day - first >= timedelta(days=days):
            if chunk:
                yield chunk
            first, chunk = partition.day, []
        chunk.append(partition)
    if chunk:
        yield chunk
