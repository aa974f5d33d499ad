"""The asset graph: thin declarations, one module per stage. What an asset computes lies in the domain packages."""

from __future__ import annotations

import dagster as dg

from shift_assets.assets.campaigns import campaign_assets
from shift_assets.assets.churn import churn_assets
from shift_assets.assets.forecasts import forecast_assets
from shift_assets.assets.intake import CATEGORY_MODEL, CLEAN, REJECTED, intake_assets
from shift_assets.assets.interest import SERIES, STATE, interest_assets
from shift_assets.assets.models import BASE_MODEL, model_assets
from shift_assets.assets.outcomes import outcome_assets
from shift_assets.assets.recommendations import recommendation_assets
from shift_assets.assets.self_check import self_check_assets
from shift_assets.assets.serving import serving_assets
from shift_assets.assets.shift import shift_assets
from shift_assets.code_version import sources_kept
from shift_assets.resources.platform import Platform

BASE_ASSETS = (CLEAN, REJECTED, SERIES, STATE)
"""What later days cannot do without of earlier ones. Self-checks and forecasts of a long history would cost more than
all the rest: without them the evidence has the windows of the settings, and the first week no `forecast_error`."""

__all__ = ["BASE_ASSETS", "BASE_MODEL", "CATEGORY_MODEL", "all_assets"]


def all_assets(platform: Platform) -> list[dg.AssetsDefinition]:
    """Every asset of an installation, in the order of the stages."""
    with sources_kept():
        return [
            *intake_assets(platform),
            *interest_assets(platform),
            *forecast_assets(platform),
            *shift_assets(platform),
            *self_check_assets(platform),
            *model_assets(platform),
            *recommendation_assets(platform),
            *campaign_assets(platform),
            *outcome_assets(platform),
            *churn_assets(platform),
            *serving_assets(platform),
        ]
