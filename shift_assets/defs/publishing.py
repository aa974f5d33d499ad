"""How an asset becomes partitions: its version, and one materialisation reported to Dagster per partition.

What does not belong here: any knowledge of a particular table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.table import Table
from shift_assets.defs.code_version import code_version
from shift_assets.defs.dagster_private import (
    EVENTS_ARE_EMITTED_BY_THE_STEP,
    input_pointer_tag,
    input_version_tag,
    version_tags,
)
from shift_assets.defs.partitions import key_of
from shift_assets.defs.preview import preview
from shift_assets.settings.root import Settings
from shift_assets.storage.lake import Published, partition_slices


def version(compute: Callable[..., object], settings: Settings, sections: Sequence[str] = (), *more: str) -> str:
    """Return the version of what `compute` makes with the settings of `sections`; `more` counts too.

    A section may be narrowed to one key: `schedule.refit_weekday`.
    """
    return code_version(compute, settings.model_dump_json(include=_included(sections)), *more)


def _included(keys: Sequence[str]) -> dict[str, Any]:
    """The keys, `section` or `section.key`, as pydantic wants them."""
    found: dict[str, Any] = {}
    for key in keys:
        section, _, name = key.partition(".")
        if name:
            found.setdefault(section, set()).add(name)
        else:
            found[section] = True
    return found


def shape_of(table: Table) -> str:
    """Key, columns and types of a table, for `version`."""
    return f"{table.key} {table.schema}"


def by_partition(rows: pa.Table, partitions: Iterable[Partition]) -> dict[Partition, pa.Table]:
    """The rows of each partition; empty where it has none."""
    return {partition: rows.slice(0, 0) for partition in partitions} | dict(partition_slices(rows))


def input_version_tags(context: dg.AssetExecutionContext, asset: str) -> dict[str, str]:
    """The tags that record how far into the history of its inputs an asset has read; ask before reading them.

    Dagster shows a partition as unsynced when an input got other content after that. Without the tags of a step that
    emits its own events every partition would look unsynced from the start. Of a partitioned input only the pointer
    counts, a window of partitions has no version of its own.
    """
    tags: dict[str, str] = {}
    for key in sorted(context.assets_def.asset_deps[dg.AssetKey(asset)]):
        tags[input_version_tag(key.to_user_string())] = "partitioned"
        tags[input_pointer_tag(key.to_user_string())] = _newest_event(context, key)
    return tags


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
    """Report one materialisation per partition to Dagster, with its own data version, row count and metrics.

    Args:
        context: the step that published.
        asset: key of the asset.
        rows: rows of the published partitions; others are ignored.
        published: what was published, in order of day.
        inputs: what `input_version_tags` returned before the inputs were read.
        metrics: numbers of one partition's rows, which Dagster plots over partitions.
        plot: picture of the whole run; the newest day's partitions carry it and a masked preview.
        more: further metadata by partition.
    """
    parts = by_partition(rows, published)
    newest = max(partition.day for partition in published)
    version = context.assets_def.code_versions_by_key[dg.AssetKey(asset)] or ""
    for partition, input_tags in _with_own_pointer(context, asset, published, inputs):
        found, key = published[partition], key_of(partition)
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
        tags = {**version_tags(key, found.digest, version), **input_tags}
        context.log_event(dg.AssetMaterialization(asset, partition=key, metadata=metadata, tags=tags))


def _with_own_pointer(
    context: dg.AssetExecutionContext, asset: str, partitions: Iterable[Partition], inputs: Mapping[str, str]
) -> Iterator[tuple[Partition, Mapping[str, str]]]:
    """Each partition with the tags of its inputs.

    An asset that reads its own day before has read what was reported just now: its pointer moves on with every day.
    """
    pointer = input_pointer_tag(asset)
    reported: date | None = None
    for partition in partitions:
        if pointer in inputs and partition.day != reported:
            inputs = {**inputs, pointer: _newest_event(context, dg.AssetKey(asset))}
            reported = partition.day
        yield partition, inputs


def already_reported(asset: str) -> dg.MaterializeResult:
    """The result of an asset whose partitions were reported already."""
    return dg.MaterializeResult(asset, metadata={EVENTS_ARE_EMITTED_BY_THE_STEP: True})


def png_markdown(png: bytes) -> dg.MetadataValue:
    import base64

    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")
