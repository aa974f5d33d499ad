"""The days that an installation covers."""

from __future__ import annotations

from datetime import date

from pydantic import Field, model_validator

from shift_assets.settings.section import Section


class CalendarSettings(Section):
    """Days that the installation covers."""

    first_day: date | None = Field(
        None, description="First day with a partition. `null` until the first `land` or `run` sets it."
    )
    last_day: date | None = Field(
        None,
        description="Last day with a partition; `land` and `run` move it on. `null` follows the clock up to yesterday.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> CalendarSettings:
        if self.first_day and self.last_day and self.last_day < self.first_day:
            raise ValueError(f"last_day {self.last_day} lies before first_day {self.first_day}")
        return self
