"""Table of the churn stage."""

from __future__ import annotations

from shift_assets.contracts.columns import DAY, FLOAT, INT, STRING, USER_ID
from shift_assets.contracts.table import Column, Table, count, share

CHURN_PREDICTIONS = Table(
    "churn_predictions",
    description=(
        "The probability that a user does not come within 28 days, stacked from the visits and the interest model, "
        "and the user's churn warning; also for users who stay away"
    ),
    grain="one user seen within 180 days, at the end of the day",
    key=("day", "user_id"),
    consumer=(
        "the next day's `churn_predictions`, `shift_signals`, `shift_alerts`, `open_alerts`, `churn_calibration`, "
        "`bi_activation.duckdb` (win-back campaigns), `shift-assets run` (its report)"
    ),
    own_columns=(
        USER_ID,
        Column("last_active_day", DAY, "The user's last active day"),
        Column(
            "away_since",
            DAY,
            "First day without a visit since the last one; on the day on which a visit closes a warning, that of the "
            "absence that it ends",
        ),
        Column("days_away", INT, "Days since the last active day", unit="days", minimum=0),
        count("active_days", "Active days since the state began"),
        Column("gap_mean_days", FLOAT, "Mean gap between active days", unit="days", nullable=True, minimum=0),
        share("visits_probability", "Probability of no visit by BG/NBD on the visits alone", nullable=True),
        share(
            "model_probability",
            "Probability of no visit by the interest model; null where it made no prediction",
            nullable=True,
        ),
        share(
            "churn_probability",
            "Probability of no visit in the next 28 days: both stacked and calibrated on the outcomes known by then",
            nullable=True,
        ),
        share(
            "threshold",
            "Probability from which a warning opens; null where no threshold reaches the stated precision",
            nullable=True,
        ),
        Column(
            "warning",
            STRING,
            "The churn warning on the day; null: none is open",
            nullable=True,
            allowed=("opened", "open", "closed"),
        ),
        Column(
            "warning_opened_day",
            DAY,
            "Day on which the warning of this absence opened, also after it closed; an absence has at most one",
            nullable=True,
        ),
    ),
)
