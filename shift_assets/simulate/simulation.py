"""Settings of a simulated log, and the kinds of change that are planted."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shift_assets.contracts.partition import SEGMENT_PATTERN

EventFormat = Literal["jsonl.gz", "jsonl", "csv", "parquet"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlantedShares(_Section):
    """Share of the users with each planted change; a user has at most one."""

    abrupt: float = Field(default=0.05, ge=0, le=1, description="Whole profile replaced from one day to the next")
    partial: float = Field(
        default=0.035, ge=0, le=1, description="60 % of the profile replaced from one day to the next"
    )
    gradual: float = Field(default=0.035, ge=0, le=1, description="Whole profile replaced gradually")
    seasonal_return: float = Field(
        default=0.02, ge=0, le=1, description="Another profile for some weeks, then the old one"
    )
    surge: float = Field(
        default=0.02, ge=0, le=1, description="One category added on top for some weeks, doubling the events"
    )
    fade: float = Field(default=0.02, ge=0, le=1, description="The leading categories lost, the others unchanged")
    churn: float = Field(default=0.05, ge=0, le=1, description="No more visits")
    gift: float = Field(default=0.10, ge=0, le=1, description="Two days of events in one other category; not a shift")
    volume: float = Field(default=0.05, ge=0, le=1, description="2.5 times, or 0.4 times, the events; not a shift")

    @model_validator(mode="after")
    def _at_most_everybody(self) -> PlantedShares:
        total = sum(self.model_dump().values())
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of planted users add up to {total:.3f}, above 1; lower some of them")
        return self


class Simulation(_Section):
    """Settings of one simulated log; equal settings give equal bytes."""

    users: int = Field(default=2_000, ge=1, description="Users that exist, late joiners included")
    items: int = Field(
        default=2_000, ge=1, description="Items of the catalogue, popular by Zipf's law within their category"
    )
    days: int = Field(default=90, ge=2, description="Local calendar days")
    first_day: date = Field(default=date(2026, 1, 1), description="First local calendar day")
    timezone: str = Field(default="Europe/London", description="The shop's time zone")
    categories: int = Field(default=20, ge=2, le=240, description="Interest categories")
    segments: dict[str, tuple[str, ...]] = Field(
        default={"uk": ("United Kingdom",), "dach": ("Germany", "Austria"), "france": ("France",)},
        description="Countries of each listed segment",
    )
    other_segment: str = Field(default="rest", description="Segment of the countries that no listed segment names")
    other_countries: tuple[str, ...] = Field(
        default=("Netherlands", "Spain", "Sweden"), min_length=1, description="Countries of the other segment"
    )
    events_per_user_day: float = Field(
        default=3.0, gt=0, description="Mean events per user and day, idle days included"
    )
    events: int | None = Field(default=None, ge=1, description="Events in all, to a few per cent; instead of the mean")
    planted: PlantedShares = Field(
        default=PlantedShares(), description="Share of the users that carry each planted change"
    )
    gradual_days: int = Field(default=21, ge=2, description="Days that a gradual change takes")
    excursion_days: int = Field(default=28, ge=2, description="Days until a seasonal return")
    surge_days: int = Field(default=21, ge=2, description="Days that a surge lasts")
    late_joiners: float = Field(
        default=0.15, ge=0, le=1, description="Share of the unplanted users whose first day comes later"
    )
    organic_drift: float = Field(
        default=0.001, ge=0, le=0.1, description="Share of every profile that drifts to another user's per day"
    )
    wander: float = Field(
        default=0.0,
        ge=0,
        le=0.1,
        description="Share of every profile replaced by another one per day, at random",
    )
    promotions: int | None = Field(
        default=None, ge=0, description="Promotion days at random dates, which affect all users; null: one in 13 days"
    )
    promotion_dates: tuple[date, ...] = Field(default=(), description="Promotion days by date, instead of random ones")
    new_season: date | None = Field(
        default=None, description="Day from which the demand for every category is permanently different; null: never"
    )
    session_focus: float = Field(
        default=4.0, gt=0, description="How close a session's mix is to its user's: 1 gives sessions of one category"
    )
    season_days: int = Field(default=180, ge=2, description="Period of the seasonal swing of category demand")
    season_strength: float = Field(default=0.2, ge=0, le=2, description="Log amplitude of the seasonal swing")
    trend_strength: float = Field(
        default=0.15, ge=0, le=2, description="Standard deviation of a category's log demand gained over the whole log"
    )
    dirt_share: float = Field(
        default=0, ge=0, le=0.5, description="Malformed, duplicate and late rows per event, a third each"
    )
    lateness_days: int = Field(default=3, ge=1, le=31, description="Largest delay of a late row, in days")
    format: EventFormat = Field(default="jsonl.gz", description="Format of the event files")
    users_per_file: int = Field(
        default=50_000, ge=1, description="Users whose events of a day share one file: bounds the memory"
    )
    seed: int = Field(default=20260101, ge=0, description="Seed of everything random")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"unknown time zone {name!r}; use a name like Europe/London") from error
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Simulation:
        outside = [day.isoformat() for day in self.promotion_dates if not self.first_day <= day <= self.last_day]
        if outside:
            raise ValueError(f"promotion days outside {self.first_day} to {self.last_day}: {', '.join(outside)}")
        if self.new_season and not self.first_day <= self.new_season <= self.last_day:
            raise ValueError(f"the new season {self.new_season} lies outside {self.first_day} to {self.last_day}")
        if self.promotions and self.promotions > self.days:
            raise ValueError(f"{self.promotions} promotion days in {self.days} days; ask for fewer")
        if self.categories > self.items:
            raise ValueError(f"{self.categories} categories of {self.items} items; ask for more items")
        bad = [name for name in (*self.segments, self.other_segment) if not re.match(SEGMENT_PATTERN, name)]
        if bad:
            raise ValueError(f"segment keys {bad} do not match {SEGMENT_PATTERN}")
        return self

    @property
    def last_day(self) -> date:
        return self.first_day + timedelta(days=self.days - 1)

    @property
    def target_events(self) -> float:
        """Events expected in all."""
        return float(self.events or self.events_per_user_day * self.users * self.days)

    @property
    def promotion_count(self) -> int:
        """Promotion days at random dates."""
        return self.days // 13 if self.promotions is None else self.promotions

    @property
    def blocks(self) -> int:
        """Blocks of users; each writes one file a day."""
        return -(-self.users // self.users_per_file)

    @property
    def countries(self) -> tuple[str, ...]:
        listed = tuple(country for countries in self.segments.values() for country in countries)
        return listed + self.other_countries
