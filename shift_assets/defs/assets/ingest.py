"""From the landing folder to clean events: the frozen category model, cleaning, and its check results."""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.columns import UNCATEGORISED
from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.table import Table
from shift_assets.defs import partitions as keys
from shift_assets.defs.failures import final_unless_transient
from shift_assets.defs.kinds import kinds_of
from shift_assets.defs.plots import rejections_by_reason
from shift_assets.defs.publishing import (
    already_reported,
    input_version_tags,
    report_materializations,
    shape_of,
    version,
)
from shift_assets.defs.table_asset import OWNER, TRANSIENT_RETRY, backfill_policy, table_attributes
from shift_assets.ingest.cleaning.clean import CleanedChunk
from shift_assets.ingest.cleaning.engines.engine import EngineName
from shift_assets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from shift_assets.ingest.categories.category_model import CategoryModel

GROUP = "intake"
CATEGORY_MODEL = "category_model"
CLEAN, REJECTED = CLEAN_EVENTS.name, REJECTED_EVENTS.name
_ASSETS = (CLEAN_EVENTS, REJECTED_EVENTS)
_TABLES = (*_ASSETS, DELIVERIES)
"""The deliveries behind the accounting are in the lake, but no asset: nobody materialises them by themselves."""


def ingest_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    return [_category_model(workspace), _cleaning(workspace)]


def _category_model(workspace: Workspace) -> dg.AssetsDefinition:
    settings, source = workspace.settings, workspace.source

    @dg.asset(
        name=CATEGORY_MODEL,
        partitions_def=keys.day_partitions(settings, source),
        group_name=GROUP,
        kinds=kinds_of(_categories),
        owners=[OWNER],
        code_version=version(_categories, settings, ["seed"]),
        retry_policy=TRANSIENT_RETRY,
        description=(
            "Interest categories of the items, fitted on the first 28 landed days of all segments and then frozen, so "
            "that categories never move under the detector; while fewer are landed, on those. The partition of the "
            "calendar's first day serves. Items that appear later join a category while their day is cleaned: by their "
            "text, or by their first visitors."
            "\n\n**Grain**: one category per item.\n\n**Read by**: `clean_events`, `rejected_events`."
        ),
    )
    def category_model(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult:
        model = _categories(workspace, date.fromisoformat(context.partition_key))
        sizes = Counter(model.assignments["category"].to_pylist())
        context.log.info(f"category model {model.version}: {len(sizes)} categories of {sum(sizes.values())} units")
        rows = "\n".join(f"| {name} | {count} |" for name, count in sizes.most_common())
        return dg.MaterializeResult(
            data_version=dg.DataVersion(model.version),
            metadata={
                "categories": len(sizes),
                "units": sum(sizes.values()),
                "largest_share": max(sizes.values(), default=0) / max(sum(sizes.values()), 1),
                "sizes": dg.MetadataValue.md(f"| category | units |\n|---|---|\n{rows}"),
            },
        )

    return category_model


def _categories(workspace: Workspace, day: date) -> "CategoryModel":
    return workspace.category_models.fit(day, workspace.parse_context, workspace.settings, workspace.engine())


def _cleaning(workspace: Workspace) -> dg.AssetsDefinition:
    settings = workspace.settings
    shapes = map(shape_of, _TABLES)
    made_by = version(_cleaned, settings, ["lateness_days", "bots"], *shapes)
    specs = [
        dg.AssetSpec(
            table.name,
            deps=[dg.AssetDep(CATEGORY_MODEL, partition_mapping=keys.first_day_only(settings))],
            partitions_def=keys.day_segment_partitions(settings, workspace.source),
            **table_attributes(table, GROUP, kinds_of(_cleaned), made_by),
        )
        for table in _ASSETS
    ]

    @dg.multi_asset(
        name="cleaning",
        specs=specs,
        can_subset=False,
        backfill_policy=backfill_policy(single_run=True),
        retry_policy=TRANSIENT_RETRY,
        pool="spark",
    )
    def cleaning(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> Iterator[dg.MaterializeResult]:
        _clean_and_publish(context, workspace)
        for table in _ASSETS:
            yield already_reported(table.name)

    return cleaning


@final_unless_transient()
def _clean_and_publish(context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    from shift_assets.workspace.quality_gate import validate_and_store

    requested = keys.requested(context)
    engine = workspace.engine()
    inputs = input_version_tags(context, CLEAN)
    claims = {table.name: workspace.lake.claim(table, requested, context.run_id) for table in _TABLES}
    wanted = set(requested)
    for chunk in _cleaned(workspace, requested, engine):
        done = [partition for partition in chunk.partitions if partition in wanted]
        for table, rows in _rows_by_table(chunk):
            claim = claims[table.name].narrowed(done)
            published = workspace.lake.publish(table, rows, claim)
            if table in _ASSETS:
                plot = rejections_by_reason(rows) if table is REJECTED_EVENTS else None
                more = _row_counts(chunk, done, engine)
                report_materializations(context, table.name, rows, published, inputs, plot=plot, more=more)
        validate_and_store(workspace.lake, CLEAN_EVENTS, done, context.run_id, workspace.source.timezone)
        context.log.info(
            f"{done[0].day} to {done[-1].day} on {engine}: {chunk.deliveries.num_rows} files, "
            f"{chunk.clean.num_rows:,} clean and {chunk.rejected.num_rows:,} rejected rows"
        )


def _cleaned(workspace: Workspace, partitions: list[Partition], engine: EngineName) -> Iterator[CleanedChunk]:
    from shift_assets.ingest.cleaning.clean import clean

    return clean(
        workspace.parse_context,
        days_of(partitions),
        segments_of(partitions),
        bots=workspace.settings.bots,
        categories=workspace.category_models.timeline(keys.first_day(workspace.settings)),
        engine=engine,
        spark_remote=workspace.settings.spark.remote,
        staging=workspace.settings.staging,
    )


def _rows_by_table(chunk: CleanedChunk) -> list[tuple[Table, pa.Table]]:
    return [(CLEAN_EVENTS, chunk.clean), (REJECTED_EVENTS, chunk.rejected), (DELIVERIES, chunk.deliveries)]


def _row_counts(chunk: CleanedChunk, partitions: list[Partition], engine: str) -> dict[Partition, dict[str, object]]:
    """The accounting of each partition: rows delivered, clean, uncategorised, rejected by reason."""
    delivered: Counter[Partition] = Counter()
    for row in chunk.deliveries.select(["day", "segment", "rows"]).to_pylist():
        delivered[Partition(row["day"], row["segment"])] += row["rows"]
    clean = _counts(chunk.clean, [])
    uncategorised = _counts(chunk.clean.filter(pc.equal(chunk.clean["category"], UNCATEGORISED)), [])
    rejected = _counts(chunk.rejected, ["reason"])
    return {
        partition: {
            "rows_delivered": delivered[partition],
            "rows_clean": clean.get((partition,), 0),
            "uncategorised_share": uncategorised.get((partition,), 0) / max(clean.get((partition,), 0), 1),
            **{f"rejected_{key[1]}": count for key, count in rejected.items() if key[0] == partition},
            "engine": engine,
        }
        for partition in partitions
    }


def _counts(rows: pa.Table, by: list[str]) -> dict[tuple[object, ...], int]:
    names = ["day", "segment", *by]
    counted = rows.select(names).group_by(names).aggregate([([], "count_all")]).to_pylist()
    return {(Partition(row["day"], row["segment"]), *(row[name] for name in by)): row["count_all"] for row in counted}
