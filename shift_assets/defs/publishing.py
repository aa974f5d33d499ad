"""How an asset of ours becomes partitions: claim, compute, publish, and tell Dagster about each partition.

An asset is a `TableAsset`: what it reads, the pure computation, and what a person wants to see of it. What does
not belong here: any knowledge of a particular table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table
from shift_assets.defs.code_version import code_version
from shift_assets.defs.dagster_private import EVENTS_ARE_EMITTED_BY_THE_STEP
from shift_assets.defs.partitions import key_of
from shift_assets.defs.preview import preview
from shift_assets.settings.root import Settings
from shift_assets.storage.lake import Published, partition_slices

Rows = Mapping[Partition, pa.Table]


def version(compute: Callable[..., object], settings: Settings, sections: Sequence[str] = (), *more: str) -> str:
    """Return the version of what `compute` makes with the settings of `sections`; `more` counts too."""
    return code_version(compute, settings.model_dump_json(include=set(sections)), *more)


def shape_of(table: Table) -> str:
    """Key, columns and types of a table, for `version`."""
    return f"{table.key} {table.schema}"


def by_partition(rows: pa.Table, partitions: Iterable[Partition]) -> dict[Partition, pa.Table]:
    """The rows of each partition; empty where it has none."""
    return {partition: rows.slice(0, 0) for partition in partitions} | dict(partition_slices(rows))


def input_version_tags(context: dg.AssetExecutionContext, asset: str) -> dict[str, str]:
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


def report_materializations(
    context: dg.AssetExecutionContext,
    asset: str,
    rows: pa.Table,
    published: Mapping[Partition, Published],
    inputs: Mapping[str, str],
    *,
    metrics: Callable[[pa.Table], Mapping[str, float]] = lambda _: {},
    plot: bytes | None = None,
    more: Mapping[Partition, Mapping[str, Any]] | None = None,
) -> None:
    """One materialisation event per partition, with its own data version, row count and metrics.

    `inputs` is what `input_version_tags` told before they were read.
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
            if plot is not None:
                metadata["picture"] = png_markdown(plot)
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


def already_reported(asset: str) -> dg.MaterializeResult:
    """The result of an asset whose partitions were reported already."""
    return dg.MaterializeResult(asset, metadata={EVENTS_ARE_EMITTED_BY_THE_STEP: True})


def png_markdown(png: bytes) -> dg.MetadataValue:
    import base64

    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")
