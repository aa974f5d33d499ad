"""The published BI files: name, access bits and tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.interest import USER_FEATURES
from shift_assets.contracts.marts import MARTS, PUBLIC
from shift_assets.contracts.outcomes import CHURN_CALIBRATION, EXPERIMENT_REPORT, RECOMMENDATION_OUTCOMES
from shift_assets.contracts.recommendations import AD_SLOTS, CAMPAIGN_AUDIENCES
from shift_assets.contracts.shift import ALERT_CLUSTERS, INTEREST_MOVES, SEGMENT_EVENTS, SEGMENT_SHIFTS, SHIFT_SIGNALS
from shift_assets.contracts.table import Table


@dataclass(frozen=True)
class BiFile:
    """One published file: its name without ending, its access bits, and its tables by schema of the warehouse."""

    name: str
    mode: int
    tables: tuple[tuple[str, Table], ...] = field(repr=False)


PUBLIC_FILE = BiFile("bi_public", 0o644, tuple(("public", table) for table in PUBLIC.values()))


ACTIVATION_FILE = BiFile(
    "bi_activation",
    0o640,
    (
        *(("marts", table) for table in MARTS.values()),
        ("base", USER_FEATURES),
        ("base", SHIFT_SIGNALS),
        ("base", CHURN_PREDICTIONS),
        ("base", CHURN_CALIBRATION),
        ("base", SEGMENT_SHIFTS),
        ("base", SEGMENT_EVENTS),
        ("base", ALERT_CLUSTERS),
        ("base", INTEREST_MOVES),
        ("base", CAMPAIGN_AUDIENCES),
        ("base", AD_SLOTS),
        ("base", RECOMMENDATION_OUTCOMES),
        ("base", EXPERIMENT_REPORT),
    ),
)


BI_FILES = (PUBLIC_FILE, ACTIVATION_FILE)
