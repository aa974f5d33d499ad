"""The asset graph: thin declarations, one module per stage. What an asset computes lies in the domain packages."""

from __future__ import annotations

import dagster as dg

from shift_assets.defs.assets.campaigns import campaign_assets
from shift_assets.defs.assets.churn import churn_assets
from shift_assets.defs.assets.forecasts import forecast_assets
from shift_assets.defs.assets.ingest import CATEGORY_MODEL, CLEAN, REJECTED, ingest_assets
from shift_assets.defs.assets.interest import SERIES, STATE, interest_assets
from shift_assets.defs.assets.models import BASE_MODEL, model_assets
from shift_assets.defs.assets.outcomes import outcome_assets
from shift_assets.defs.assets.recommendations import recommendation_assets
from shift_assets.defs.assets.self_check import self_check_assets
from shift_assets.defs.assets.serving import serving_assets
from shift_assets.defs.assets.shift import shift_stage_assets
from shift_assets.defs.code_version import sources_kept
from shift_assets.workspace.workspace import Workspace

BASE_ASSETS = (CLEAN, REJECTED, SERIES, STATE)
"""What later days cannot do without of earlier ones. Self-checks and forecasts of a long history would cost more than
all the rest: without them the evidence has the windows of the settings, and the first week no `forecast_error`."""

__all__ = ["BASE_ASSETS", "BASE_MODEL", "CATEGORY_MODEL", "all_assets"]


def all_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    """Every asset of an installation, in the order of the stages."""
    with sources_kept():
        return [
            *ingest_assets(workspace),
            *interest_assets(workspace),
            *forecast_assets(workspace),
            *shift_stage_assets(workspace),
            *self_check_assets(workspace),
            *model_assets(workspace),
            *recommendation_assets(workspace),
            *campaign_assets(workspace),
            *outcome_assets(workspace),
            *churn_assets(workspace),
            *serving_assets(workspace),
        ]
