"""How an asset of ours becomes partitions: claim, compute, publish, and tell Dagster about each partition.

An asset is a `TableAsset`: what it reads, the pure computation, and what a person wants to see of it. What does
not belong here: any knowledge of a particular table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, cast

import dagster as dg
import pyarrow as pa

from shift_assets.assets.failures import final_unless_transient
from shift_assets.assets.preview import preview
from shift_assets.code_version import code_version
from shift_assets.contracts import Partition
from shift_assets.dagster_private import EVENTS_ARE_EMITTED_BY_THE_STEP
from shift_assets.partitions import key_of, requested
from shift_assets.resources.lake import Published, runs_of_partitions
from shift_assets.resources.platform import Platform
from shift_assets.settings import Settings
from shift_assets.tables import Table

OWNER = "team:shift-assets"
CHUNK_DAYS = 62
"""Days of a range run that are computed and committed together: two months of rows fit in memory."""

Rows = Mapping[Partition, pa.Table]


@dataclass(frozen=True)
class TableAsset:
    """Everything that makes one table an asset.

    `compute(platform, partitions)` returns the rows of all `partitions`, in the table's contract.
    `metrics(rows)` names numbers of one partition, which Dagster plots over partitions.
    `picture(platform, rows)` draws the run's rows as PNG.
    """

    table: Table
    group: str
    kinds: frozenset[str]
    deps: Sequence[dg.AssetDep | str]
    compute: Callable[[Platform, list[Partition]], pa.Table]
    sections: Sequence[str] = ()
    """Settings that the rows depend on."""
    metrics: Callable[[pa.Table], Mapping[str, float]] = field(default=lambda _: {})
    picture: Callable[[Platform, pa.Table], bytes | None] = field(default=lambda _platform, _rows: None)
    single_run: bool = True
    pool: str | None = None
    chunk_days: int = CHUNK_DAYS
    automation: dg.AutomationCondition[Any] | None = None
    name: str | None = None
    """Name of the asset where it is not the table's."""

    @property
    def key(self) -> str:
        return self.name or self.table.name


def build(asset: TableAsset, partitions: dg.PartitionsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """The Dagster asset of one table."""

    @dg.asset(
        name=asset.key,
        partitions_def=partitions,
        deps=asset.deps,
        pool=asset.pool,
        backfill_policy=backfill_policy(asset.single_run),
        automation_condition=asset.automation,
        retry_policy=TRANSIENT_RETRY,
        **declared(
            asset.table,
            asset.group,
            asset.kinds,
            version(asset.compute, settings, asset.sections, shape_of(asset.table)),
        ),
    )
    def definition(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult]:
        for chunk in chunks(requested(context), asset.chunk_days):
            with final_unless_transient():
                inputs = inputs_of(context, asset.key)
                claim = platform.lake.claim(asset.table, chunk, context.run_id)
                rows = asset.table.conform(asset.compute(platform, chunk))
                published = platform.lake.publish(asset.table, rows, claim)
                picture = asset.picture(platform, rows)
            report(context, asset.key, rows, published, inputs, metrics=asset.metrics, picture=picture)
            context.log.info(f"{asset.key}: {rows.num_rows:,} rows in {len(chunk)} partitions")
        yield emitted(asset.key)

    return cast(dg.AssetsDefinition, definition)


TRANSIENT_RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def backfill_policy(single_run: bool) -> dg.BackfillPolicy:
    return dg.BackfillPolicy.single_run() if single_run else dg.BackfillPolicy.multi_run(1)


def declared(table: Table, group: str, kinds: Iterable[str], version: str) -> dict[str, Any]:
    """What the catalogue shows of a table: description, owner, kinds, column schema."""
    return {
        "group_name": group,
        "kinds": {"deltalake", *kinds},
        "owners": [OWNER],
        "code_version": version,
        "description": (
            f"**Grain**: {table.grain}.\n\n**Key**: {', '.join(table.key)}.\n\n**Read by**: {table.consumer}."
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


def version(compute: Callable[..., object], settings: Settings, sections: Sequence[str] = (), *more: str) -> str:
    """Return the version of what `compute` makes with the settings of `sections`; `more` counts too."""
    return code_version(compute, settings.model_dump_json(include=set(sections)), *more)


def shape_of(table: Table) -> str:
    """Key, columns and types of a table, for `version`."""
    return f"{table.key} {table.schema}"


def chunks(partitions: list[Partition], days: int) -> Iterator[list[Partition]]:
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


def by_partition(rows: pa.Table, partitions: Iterable[Partition]) -> dict[Partition, pa.Table]:
    """The rows of each partition; empty where it has none."""
    return {partition: rows.slice(0, 0) for partition in partitions} | dict(runs_of_partitions(rows))


def inputs_of(context: dg.AssetExecutionContext, asset: str) -> dict[str, str]:
    """The tags that tell how far into the history of its inputs an asset has seen; ask before reading them.

    Dagster shows a partition as unsynced when an input got other content after that. Without the tags of a step that
    emits its own events every partition would look unsynced from the start. Of a partitioned input only the pointer
    counts, a window of partitions has no version of its own.
    """
    tags: dict[str, str] = {}
    for key in sorted(context.assets_def.asset_deps[dg.AssetKey(asset)]):
        tags[f"dagster/input_data_version/{key.to_user_string()}"] = "partitioned"
        tags[_POINTER + key.to_user_string()] = _newest_event(context, key)
    return tags


_POINTER = "dagster/input_event_pointer/"


def _newest_event(context: dg.AssetExecutionContext, key: dg.AssetKey) -> str:
    newest = context.instance.fetch_materializations(key, limit=1).records
    return str(newest[0].storage_id) if newest else "NULL"


def report(
    context: dg.AssetExecutionContext,
    asset: str,
    rows: pa.Table,
    published: Mapping[Partition, Published],
    inputs: Mapping[str, str],
    *,
    metrics: Callable[[pa.Table], Mapping[str, float]] = lambda _: {},
    picture: bytes | None = None,
    more: Mapping[Partition, Mapping[str, Any]] | None = None,
) -> None:
    """One materialisation event per partition, with its own data version, row count and metrics.

    `inputs` is what `inputs_of` told before they were read.
    The newest day's partitions also carry a masked preview and the picture of the run.
    """
    parts = by_partition(rows, published)
    newest = max(partition.day for partition in published)
    version = context.assets_def.code_versions_by_key[dg.AssetKey(asset)]
    reported: date | None = None
    for partition, found in published.items():
        key = key_of(partition)
        if _POINTER + asset in inputs and partition.day != reported:  # it reads its own day before, told just now
            inputs = {**inputs, _POINTER + asset: _newest_event(context, dg.AssetKey(asset))}
            reported = partition.day
        metadata: dict[str, Any] = {
            "dagster/row_count": found.rows,
            "file": found.path,
            **metrics(parts[partition]),
            **(more or {}).get(partition, {}),
        }
        if partition.day == newest:
            metadata["preview"] = preview(parts[partition])
            if picture is not None:
                metadata["picture"] = as_markdown(picture)
        context.log_event(
            dg.AssetMaterialization(
                asset,
                partition=key,
                metadata=metadata,
                tags={
                    **{f"dagster/partition/{name}": value for name, value in key.keys_by_dimension.items()},
                    "dagster/data_version": found.digest,
                    "dagster/data_version_is_user_provided": "true",
                    "dagster/code_version": version or "",
                    **inputs,
                },
            )
        )


def emitted(asset: str) -> dg.MaterializeResult:
    """The result of an asset whose partitions were reported already."""
    return dg.MaterializeResult(asset, metadata={EVENTS_ARE_EMITTED_BY_THE_STEP: True})


def as_markdown(png: bytes) -> dg.MetadataValue:
    import base64

    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")
