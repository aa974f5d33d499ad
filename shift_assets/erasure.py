"""Erasing one user from a whole installation: lake, work in progress, and the BI files built from the lake."""

from __future__ import annotations

import shutil

from shift_assets.contracts import CLEAN_EVENTS, QUALITY_VERDICTS, Partition
from shift_assets.privacy.erase import Erasure, erase
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.resources import bi_files
from shift_assets.resources.platform import Platform


def erase_user(platform: Platform, delivered_id: str) -> Erasure:
    """Removes the user delivered as `delivered_id`; safe to repeat. Nothing else of the installation may run."""
    from shift_assets.models.store import pooled_windows

    settings, lake = platform.settings, platform.lake
    identity = pseudonym(load_key(settings.privacy), delivered_id)
    erasure = erase(
        lake,
        settings.privacy,
        [identity],
        [delivered_id],
        check_days=settings.self_check.window_days,
        other_models=pooled_windows(settings.models),
    )
    _judge_again(platform)
    for scratch in (settings.staging, settings.evaluation):
        shutil.rmtree(scratch, ignore_errors=True)
    warehouse = platform.warehouse
    warehouse.discard()  # deleted rows would stay in the file's unused blocks
    warehouse.load(lake)
    bi_files.publish(warehouse, settings.bi, settings.public.keep_generations)
    bi_files.drop_generations(warehouse, settings.bi)
    return erasure


def _judge_again(platform: Platform) -> None:
    """The gate lets nobody read events whose content changed after they were judged: here they did, rightly."""
    from shift_assets.resources.verdicts import judge_and_store

    verdicts = platform.lake.read(
        QUALITY_VERDICTS, columns=["day", "segment", "table_name", "data_version"]
    ).to_pylist()
    judged = {
        Partition(row["day"], row["segment"]): row["data_version"]
        for row in verdicts
        if row["table_name"] == CLEAN_EVENTS.name
    }
    standing = platform.lake.published(CLEAN_EVENTS)
    changed = [
        partition for partition, found in standing.items() if judged.get(partition, found.digest) != found.digest
    ]
    if changed:
        judge_and_store(platform, CLEAN_EVENTS, sorted(changed), "erase")
