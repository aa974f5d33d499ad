"""What leaves the platform: the warehouse, the two BI files, and messages about alerts."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from shift_assets.contracts.partition import Partition, days_of, segments_of
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.serving import ALERT_OUTBOX
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.defs import partitions as keys
from shift_assets.defs.assets.shift import ALERTS
from shift_assets.defs.automation_conditions import content_changed
from shift_assets.defs.failures import final_unless_transient
from shift_assets.defs.kinds import kinds_of
from shift_assets.defs.publishing import version
from shift_assets.defs.resources import DuckDBResource, warehouse_of
from shift_assets.defs.table_asset import OWNER, TRANSIENT_RETRY, TableAsset, backfill_policy, build_asset
from shift_assets.settings.root import Settings
from shift_assets.workspace.workspace import Workspace

if TYPE_CHECKING:
    from shift_assets.notify.webhook import Delivery
    from shift_assets.storage.bi_generations import Publication
    from shift_assets.storage.lake import Lake
    from shift_assets.storage.warehouse import Loaded, Warehouse

GROUP = "serving"
WAREHOUSE, BI_FILES, NOTIFICATIONS = "warehouse", "bi_files", "alert_notifications"
UNDELIVERED_FOR_DAYS = 7
"""Messages that waited for a receiver are tried again for a week."""
NOT_AN_ASSET = {"model_registry", "quality_verdicts", "deliveries"}


def serving_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    partitions = keys.day_segment_partitions(workspace.settings, workspace.source)
    outbox = TableAsset(
        table=ALERT_OUTBOX,
        group=GROUP,
        deps=[ALERTS],
        compute=_messages,
        sections=["notify"],
    )
    return [
        build_asset(outbox, partitions, workspace.settings),
        _notifications(workspace),
        _warehouse(workspace),
        _bi_files(workspace),
    ]


def _messages(workspace: Workspace, partitions: list[Partition]) -> pa.Table:
    from shift_assets.notify.outbox import outbox_messages

    days = days_of(partitions)
    alerts = workspace.reader.read(SHIFT_ALERTS, days[0], days[-1], segments_of(partitions))
    return outbox_messages(alerts, workspace.settings.notify.minimum_severity)


def _notifications(workspace: Workspace) -> dg.AssetsDefinition:
    @dg.asset(
        name=NOTIFICATIONS,
        partitions_def=keys.day_segment_partitions(workspace.settings, workspace.source),
        deps=[ALERT_OUTBOX.name],
        group_name=GROUP,
        kinds=kinds_of(_delivered),
        owners=[OWNER],
        code_version=version(_delivered, workspace.settings, ["notify"]),
        pool=NOTIFICATIONS,
        backfill_policy=backfill_policy(single_run=True),
        description=(
            "Posts the outbox of the last days to `notify.webhook_url`, at least once, with the message id as "
            "idempotency key. A re-run sends nothing twice, and a failing receiver fails no run. Without an address "
            "nothing is sent.\n\n**Read by**: the receiver of the webhook."
        ),
    )
    def alert_notifications(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult:
        delivery = _delivered(workspace, keys.requested(context))
        if delivery is None:
            return dg.MaterializeResult(metadata={"delivered": 0, "webhook": "notify.webhook_url is not set"})
        context.log.info(f"webhook: {delivery}")
        return dg.MaterializeResult(metadata=asdict(delivery))

    return alert_notifications


def _delivered(workspace: Workspace, partitions: list[Partition]) -> "Delivery | None":
    """Post the messages of the last days; None without an address."""
    from shift_assets.notify.webhook import deliver

    address = workspace.settings.notify.webhook_url
    if address is None:
        return None
    last = days_of(partitions)[-1]
    first = last - timedelta(days=UNDELIVERED_FOR_DAYS - 1)
    outbox = workspace.reader.read(ALERT_OUTBOX, first, last, workspace.source.segment_keys)
    return deliver(outbox, address, workspace.settings.home / "notified.sqlite")


def _warehouse(workspace: Workspace) -> dg.AssetsDefinition:
    @dg.asset(
        name=WAREHOUSE,
        partitions_def=keys.day_segment_partitions(workspace.settings, workspace.source),
        deps=sorted(TABLES.keys() - NOT_AN_ASSET),
        group_name=GROUP,
        kinds=kinds_of(_loaded),
        owners=[OWNER],
        code_version=version(_loaded, workspace.settings, ["public"]),
        pool=WAREHOUSE,
        backfill_policy=backfill_policy(single_run=True),
        retry_policy=TRANSIENT_RETRY,
        automation_condition=content_changed(),
        description=(
            "One private DuckDB file with tables of the lake and the marts of `sql/marts` and `sql/public`. Only "
            "partitions whose content digest changed are loaded; a missing or damaged file is rebuilt from the lake."
            "\n\n**Read by**: `bi_files`."
        ),
    )
    def warehouse(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace], duckdb: DuckDBResource
    ) -> dg.MaterializeResult:
        with final_unless_transient():
            loaded = _loaded(warehouse_of(workspace, duckdb), workspace.lake)
        context.log.info(f"warehouse: {loaded.partitions or 'nothing new'}{', rebuilt' if loaded.rebuilt else ''}")
        return dg.MaterializeResult(
            metadata={
                "partitions_loaded": sum(loaded.partitions.values()),
                "by_table": loaded.partitions,
                "path": dg.MetadataValue.path(workspace.warehouse_file),
            }
        )

    return warehouse


def _loaded(warehouse: "Warehouse", lake: "Lake") -> "Loaded":
    return warehouse.load(lake)


def _bi_files(workspace: Workspace) -> dg.AssetsDefinition:
    @dg.asset(
        name=BI_FILES,
        partitions_def=keys.day_segment_partitions(workspace.settings, workspace.source),
        deps=[WAREHOUSE],
        group_name=GROUP,
        kinds=kinds_of(_published),
        owners=[OWNER],
        # The warehouse is a cache: what it computes is what is published.
        code_version=version(_published, workspace.settings, ["public"], version(_loaded, workspace.settings)),
        pool=WAREHOUSE,
        backfill_policy=backfill_policy(single_run=True),
        retry_policy=TRANSIENT_RETRY,
        automation_condition=content_changed(),
        description=(
            "The published files `bi_public.duckdb` (aggregates, small cells suppressed) and `bi_activation.duckdb` "
            "(per-pseudonym tables, mode 0640), copied from the warehouse. Each is replaced by one rename: readers "
            "never wait and never see half of a day.\n\n**Read by**: BI tools."
        ),
    )
    def bi_files(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace], duckdb: DuckDBResource
    ) -> dg.MaterializeResult:
        with final_unless_transient():
            published = _published(warehouse_of(workspace, duckdb), workspace.settings)
        metadata: dict[str, Any] = {}
        for name, publication in published.items():
            context.log.info(f"{name}: generation {publication.generation}, as of {publication.as_of_day}")
            metadata[f"{name}_generation"] = publication.generation
            metadata[f"{name}_rows"] = publication.rows
            metadata[f"{name}_path"] = dg.MetadataValue.path(publication.path)
        return dg.MaterializeResult(metadata=metadata)

    return bi_files


def _published(warehouse: "Warehouse", settings: Settings) -> dict[str, "Publication"]:
    from shift_assets.storage.bi_generations import publish

    return publish(warehouse, settings.bi, settings.public.keep_generations)
