"""Every table of the platform, declared once.

What belongs here: grain, key, columns, Arrow types, units, meanings, and the bounds that a valid value keeps.
From these declarations come the write-time validation, the Dagster column schema, the Great Expectations
suites, the comments in the BI files and the data dictionary. What does not belong here: how a table is made.
"""

from __future__ import annotations

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.cleaning import CLEAN_EVENTS, DELIVERIES, REJECTED_EVENTS
from shift_assets.contracts.forecast import FORECAST_QUALITY, INTEREST_FORECASTS
from shift_assets.contracts.interest import INTEREST_SERIES, ITEM_FEATURES, USER_FEATURES
from shift_assets.contracts.models import MODEL_PREDICTIONS, MODEL_REGISTRY
from shift_assets.contracts.outcomes import (
    ALERT_OUTCOMES,
    CHURN_CALIBRATION,
    EXPERIMENT_REPORT,
    RECOMMENDATION_OUTCOMES,
)
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.recommendations import AD_SLOTS, CAMPAIGN_AUDIENCES, LIST_FITS, RECOMMENDATIONS
from shift_assets.contracts.serving import ALERT_OUTBOX
from shift_assets.contracts.shift import (
    ALERT_CLUSTERS,
    DETECTOR_SELF_CHECK,
    INTEREST_MOVES,
    INTEREST_STATE,
    OPEN_ALERTS,
    SEGMENT_EVENTS,
    SEGMENT_SHIFTS,
    SHIFT_ALERTS,
    SHIFT_SIGNALS,
)
from shift_assets.contracts.table import Table

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        CLEAN_EVENTS,
        REJECTED_EVENTS,
        DELIVERIES,
        INTEREST_SERIES,
        USER_FEATURES,
        ITEM_FEATURES,
        INTEREST_STATE,
        INTEREST_FORECASTS,
        FORECAST_QUALITY,
        CHURN_PREDICTIONS,
        SHIFT_SIGNALS,
        SHIFT_ALERTS,
        OPEN_ALERTS,
        SEGMENT_SHIFTS,
        SEGMENT_EVENTS,
        ALERT_CLUSTERS,
        INTEREST_MOVES,
        RECOMMENDATIONS,
        LIST_FITS,
        CAMPAIGN_AUDIENCES,
        AD_SLOTS,
        ALERT_OUTCOMES,
        CHURN_CALIBRATION,
        DETECTOR_SELF_CHECK,
        RECOMMENDATION_OUTCOMES,
        EXPERIMENT_REPORT,
        MODEL_REGISTRY,
        MODEL_PREDICTIONS,
        QUALITY_VERDICTS,
        ALERT_OUTBOX,
    )
}
"""Every table, by name."""
