"""Erasing one user from a whole installation: lake, work in progress, and the BI files built from the lake."""

from __future__ import annotations

import shutil

from shift_assets.privacy.erase import Erasure, erase
from shift_assets.privacy.pseudonym import load_key, pseudonym
from shift_assets.resources import bi_files
from shift_assets.resources.lake import Lake
from shift_assets.resources.warehouse import Warehouse
from shift_assets.settings import Settings


def erase_user(settings: Settings, lake: Lake, delivered_id: str) -> Erasure:
    """Removes the user delivered as `delivered_id`; safe to repeat. Nothing else of the installation may run."""
    identity = pseudonym(load_key(settings.privacy), delivered_id)
    erasure = erase(lake, settings.privacy, [identity], [delivered_id])
    shutil.rmtree(settings.staging, ignore_errors=True)
    warehouse = Warehouse(settings.bi / "warehouse.duckdb", settings.public.minimum_users)
    warehouse.discard()  # deleted rows would stay in the file's unused blocks
    warehouse.load(lake)
    bi_files.publish(warehouse, settings.bi, settings.public.keep_generations)
    bi_files.drop_generations(warehouse, settings.bi)
    return erasure
