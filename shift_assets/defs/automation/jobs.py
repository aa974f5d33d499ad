"""The jobs: which assets run together."""

from __future__ import annotations

from typing import TypeAlias

import dagster as dg
from dagster import JobDefinition

from shift_assets.defs.assets.graph import BASE_ASSETS, BASE_MODEL, CATEGORY_MODEL
from shift_assets.defs.assets.interest import NEWEST_SNAPSHOTS_ONLY
from shift_assets.defs.automation.housekeeping import housekeeping_job
from shift_assets.defs.dagster_private import AssetJob
from shift_assets.workspace.workspace import Workspace

DAILY, HISTORY, CATEGORIES, BASE_MODEL_JOB = "daily", "history", "categories", "base_model_of_all_segments"
ONE_WRITER = {"shift/writes": "lake"}
"""Runs with this tag wait for one another (`tag_concurrency_limits` in dagster.yaml): a day's state needs the state
of the day before, and of two runs over one partition the fence would let the later one win."""

Job: TypeAlias = JobDefinition | AssetJob


def all_jobs(workspace: Workspace) -> dict[str, Job]:
    """Every job by name.

    `daily` runs every stage and its checks; `history` only what later days need of earlier ones (the cleaning step
    itself stores the check results that the gate reads); `categories` fits the frozen category model, the last but one
    trains the model of all segments.
    """
    everything = dg.AssetSelection.all() - dg.AssetSelection.assets(CATEGORY_MODEL, BASE_MODEL)
    return {
        DAILY: dg.define_asset_job(
            DAILY, everything, tags=ONE_WRITER, description="Every stage, from landing to BI, with its checks"
        ),
        HISTORY: dg.define_asset_job(
            HISTORY,
            dg.AssetSelection.assets(*BASE_ASSETS).without_checks(),
            tags={**ONE_WRITER, **NEWEST_SNAPSHOTS_ONLY},
            description="Cleaning, interest series and state: the past that a first day needs",
        ),
        CATEGORIES: dg.define_asset_job(
            CATEGORIES, dg.AssetSelection.assets(CATEGORY_MODEL), description="Fits the category model, once"
        ),
        BASE_MODEL_JOB: dg.define_asset_job(
            BASE_MODEL_JOB,
            dg.AssetSelection.assets(BASE_MODEL),
            description="Trains the model that every segment's starts from",
        ),
        "housekeeping": housekeeping_job(workspace),
    }
