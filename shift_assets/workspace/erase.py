"""Erasing one user from a whole installation: lake, work in progress, and the BI files built from the lake."""

from __future__ import annotations

import shutil

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.ingest.categories.category_timeline import forget_users
from shift_assets.privacy.erase import Erasure, erase
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.storage.bi_generations import drop_generations, publish
from shift_assets.workspace.quality_gate import validate_and_store
from shift_assets.workspace.workspace import Workspace


def erase_user(workspace: Workspace, raw_id: str) -> Erasure:
    """Remove the user with the raw id `raw_id`; safe to repeat. Nothing else of the installation may run."""
    from shift_assets.models.registry.store import pooled_windows

    settings, lake = workspace.settings, workspace.lake
    identity = pseudonym(load_key(settings.privacy), raw_id)
    erasure = erase(
        lake,
        settings.privacy,
        [identity],
        [raw_id],
        check_days=settings.self_check.window_days,
        other_models=pooled_windows(settings.models),
    )
    forget_users(workspace.category_models.later_folder, [identity])
    _revalidate(workspace)
    for scratch in (settings.staging, settings.evaluation):
        shutil.rmtree(scratch, ignore_errors=True)
    warehouse = workspace.warehouse
    warehouse.discard()  # deleted rows would stay in the file's unused blocks
    warehouse.load(lake)
    publish(warehouse, settings.bi, settings.public.keep_generations)
    drop_generations(warehouse, settings.bi)
    return erasure


def _revalidate(workspace: Workspace) -> None:
    """Check the changed events again: the gate refuses content that changed after its check."""
    check_results = workspace.lake.read(
        QUALITY_VERDICTS, columns=["day", "segment", "table_name", "data_version"]
    ).to_pylist()
    checked_digests = {
        Partition(row["day"], row["segment"]): row["data_version"]
        for row in check_results
        if row["table_name"] == CLEAN_EVENTS.name
    }
    existing = workspace.lake.published(CLEAN_EVENTS)
    changed = [
        partition
        for partition, found in existing.items()
        if checked_digests.get(partition, found.digest) != found.digest
    ]
    if changed:
        validate_and_store(workspace.lake, CLEAN_EVENTS, sorted(changed), "erase", workspace.source.timezone)
