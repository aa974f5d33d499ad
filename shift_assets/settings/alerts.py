"""When a shift alert or a churn warning opens and closes, and how it is reported."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shift_assets.settings.section import (
    ActiveDays,
    ActiveDaysFloat,
    Days,
    Number,
    Section,
    Share,
    Unit,
)


class AlertSettings(Section):
    """When a shift alert opens, how it is reported, when it closes."""

    detector: Literal["evidence", "threshold", "forecast"] = Field(
        "evidence",
        description="`evidence` alerts on the e-value; for comparison, `threshold` on thresholds of the classic "
        "indicators, and `forecast` on the smoothed error of a forecast of the user's next active day.",
    )
    rule: Literal["flagged_share", "average_run_length", "discovery"] = Field(
        "flagged_share",
        description="What opens an alert of the evidence detector: the confidence at the threshold that the newest "
        "self-check chose under `flagged_share` (without one, the e-value at `average_run_length`), the e-value at "
        "`average_run_length`, or the q-value at `false_discovery_rate`.",
    )
    flagged_share: Share = Field(
        0.02,
        gt=0,
        le=0.2,
        description="Largest share of users without a shift who may get an alert within eight active days. The "
        "self-check takes a smaller one where that makes the alerts worth more.",
    )
    average_run_length: ActiveDaysFloat = Field(
        10.0,
        gt=1,
        description="A: a user whose interests do not change raises at most one false alert in this many active days "
        "on average. A higher value gives fewer, surer and later alerts.",
    )
    false_discovery_rate: Share = Field(
        0.1, gt=0, lt=1, description="q: share of false alerts among the alerts of four weeks."
    )
    change_rate: Number = Field(
        2.0,
        gt=0,
        description="Threshold detector: threshold for |log2(1 + change rate)|; 2 means activity times 4, or a "
        "quarter.",
    )
    interest_gap: Share = Field(
        0.20, gt=0, le=1, description="Threshold detector: threshold for the largest change of a category's share."
    )
    distribution_distance: Number = Field(
        0.50, gt=0, le=1, description="Threshold detector: threshold for the Jensen-Shannon distance."
    )
    forecast_flagged: Share = Field(
        0.02,
        gt=0,
        lt=1,
        description="Forecast detector: share of users that it flags within eight active days, by a threshold that is "
        "calibrated every day on the segment's past. A segment with fewer users than its inverse raises no alert.",
    )
    minimum_active_days: ActiveDays = Field(
        12, ge=2, description="Threshold and forecast detector: users with fewer active days raise no alert."
    )
    per_segment: Annotated[
        dict[str, dict[Literal["change_rate", "interest_gap", "distribution_distance"], float]], Unit("thresholds")
    ] = Field(
        default_factory=dict,
        description="Threshold detector: thresholds of single segments in place of the ones above, "
        "`{segment: {interest_gap: 0.3}}`.",
    )
    close_below: Share = Field(
        0.8,
        gt=0,
        le=1,
        description="Threshold and forecast detector: an alert closes below this share of its threshold.",
    )
    close_after_days: Days = Field(28, ge=1, description="An alert that is not renewed for this many days is closed.")
    severity_quantiles: Annotated[tuple[float, float], Unit("quantile, 0 to 1")] = Field(
        (0.8, 0.95),
        description="Quantiles, among the moves that the segment's users make over as many active days anyway, from "
        "which a shift's magnitude has medium and high severity.",
    )
    severity_doublings: Annotated[tuple[float, float], Unit("|log2(1 + change rate)|")] = Field(
        (2.5, 3.5),
        description="Threshold detector: changes of activity from which a surge or fade has medium and high severity.",
    )
    language: Literal["en", "zh"] = Field(
        "en", description="Language of explanations, reasons and names in the tables: English or Chinese."
    )


class ChurnSettings(Section):
    """Warnings that a user will not come back; churn means no visit in the following 28 days."""

    precision: Share = Field(
        0.7,
        gt=0,
        lt=1,
        description="Share of the warned users who are to stay away for the 28 days. The threshold of the churn "
        "probability is the lowest that kept it on the shop's own log, with 95 % confidence; where none did, no "
        "warning opens.",
    )
    minimum_active_days: ActiveDays = Field(4, ge=2, description="Users with fewer visit days get no warning.")
    severity_visits: Annotated[tuple[float, float], Unit("visits in 28 days")] = Field(
        (1.0, 4.0), description="Expected visits whose loss has medium and high severity."
    )
