"""When the weekly and the monthly work is done."""

from __future__ import annotations

from pydantic import Field

from shift_assets.settings.section import Days, Section, Weekday


class ScheduleSettings(Section):
    """Weekdays of the weekly work and the interval of full retraining."""

    refit_weekday: Weekday = Field(
        6,
        ge=0,
        le=6,
        description="Weekday on which the churn model, the forecasts and the blend of recommendations are refitted and "
        "the weekly reports are written.",
    )
    self_check_weekday: Weekday = Field(
        6, ge=0, le=6, description="Weekday on which the detectors are evaluated on spliced histories."
    )
    retrain_days: Days = Field(
        28,
        ge=1,
        description="Interval at which the next-item model is retrained from scratch; on the days between, training "
        "continues from the production model.",
    )
