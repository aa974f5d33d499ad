"""Weekly forecasts of interest shares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shift_assets.settings.section import Section, Share, Weeks


class ForecastSettings(Section):
    """Forecasts, one week ahead, of the share of each category in a user's interest."""

    model: Literal["auto", "linear", "forest", "lstm", "four_week_mean", "last_week"] = Field(
        "auto",
        description="Model that makes the daily forecasts. `auto` compares all but `lstm` every week on the segment's "
        "newest weeks, and takes `linear` unless another has an error at least 5 % smaller.",
    )
    history_weeks: Weeks = Field(12, ge=5, description="Weeks before the forecast week that features are built from.")
    training_weeks: Weeks = Field(
        8, ge=5, description="Weeks the model is trained on; the newest one only sizes the prediction band."
    )
    coverage: Share = Field(
        0.9, gt=0, lt=1, description="Share of the actual values that the prediction bands are meant to contain."
    )

    @property
    def window_days(self) -> int:
        """Days that the forecasts of a day read: the weeks up to the last refit, which may lie six days back."""
        return 7 * (self.history_weeks + self.training_weeks) + 6
