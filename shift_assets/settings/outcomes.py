"""What the days after said about alerts and recommendations."""

from __future__ import annotations

from pydantic import Field

from shift_assets.settings.section import Count, Days, Events, Section


class OutcomeSettings(Section):
    """How alerts and recommendations are evaluated on the days that followed."""

    horizon_days: Days = Field(7, ge=1, description="Days after an alert or recommendation that decide its outcome.")
    minimum_events: Events = Field(
        3, ge=1, description="Fewest events of a user in the horizon for an alert to be evaluated."
    )
    bootstrap_samples: Count = Field(200, ge=20, description="Bootstrap resamples behind every confidence interval.")
