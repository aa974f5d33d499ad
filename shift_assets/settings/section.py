"""What every section of the settings shares: it is frozen, refuses unknown keys, and names the unit of its numbers.

What does not belong here: a setting, or a class that only one section uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings that concern one subject."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Unit:
    """What a number counts; shown on the reference page."""

    name: str


Days = Annotated[int, Unit("days")]
DaysFloat = Annotated[float, Unit("days")]
ActiveDays = Annotated[int, Unit("active days")]
"""Days on which the user did something."""
ActiveDaysFloat = Annotated[float, Unit("active days")]
Weeks = Annotated[int, Unit("weeks")]
Weekday = Annotated[int, Unit("weekday (0 Monday, 6 Sunday)")]
Users = Annotated[int, Unit("users")]
Items = Annotated[int, Unit("items")]
Events = Annotated[int, Unit("events")]
Steps = Annotated[int, Unit("training steps")]
Count = Annotated[int, Unit("count")]
Share = Annotated[float, Unit("share")]
Number = Annotated[float, Unit("number")]
