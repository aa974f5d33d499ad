"""How shifts of interest are detected: the state of a user, the indicators, the evidence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shift_assets.settings.section import ActiveDays, ActiveDaysFloat, Days, Section, Unit, Users


class StateSettings(Section):
    """The state that is carried for every user from day to day."""

    recent_active_days: ActiveDays = Field(7, ge=1, description="Length of the recent window of a user.")
    reference_active_days: ActiveDays = Field(28, ge=1, description="Length of the reference window before it.")
    keep_days: Days = Field(
        35,
        ge=7,
        description="Daily snapshots of the state that are kept before the newest one. With fewer than 28 churn "
        "warnings cannot be evaluated.",
    )


class SignalSettings(Section):
    """The classic indicators: change rate, interest gap, distribution distance."""

    ewma_half_life_active_days: Annotated[float | None, Unit("active days")] = Field(
        None, gt=0, description="Half-life of the exponential smoothing of the indicators; `null` switches it off."
    )
    minimum_active_days: ActiveDays = Field(6, ge=2, description="Users with fewer active days get no indicators.")


class EvidenceSettings(Section):
    """The e-value and the posterior probability of a shift (`shift/detector/evidence.py`)."""

    starts: ActiveDays = Field(
        12, ge=4, le=32, description="Newest active days of a user on which a new regime may have started."
    )
    posterior_window: ActiveDays = Field(
        8, ge=2, description="A regime that started at most this many active days ago counts as a shift."
    )
    half_life_active_days: ActiveDaysFloat = Field(
        46, gt=0, description="Active days after which a day has half its weight in the user's profile."
    )
    promotion_guard: Annotated[float, Unit("nats per unit of total variation")] = Field(
        0.0,
        ge=0,
        description="How much the evidence of a day is reduced when the whole segment moved on that day, as in a "
        "promotion; 0 switches it off.",
    )

    @property
    def decay(self) -> float:
        """Weight of a day after one more scored day."""
        return float(2.0 ** (-1.0 / self.half_life_active_days))


class MoveSettings(Section):
    """Rules over the categories whose share fell and rose together for alerted users."""

    minimum_users: Users = Field(5, ge=2, description="Fewest users that support a rule.")
    minimum_confidence: Annotated[float, Unit("share")] = Field(
        0.2, ge=0, le=1, description="Smallest confidence of a rule that is reported."
    )


class SelfCheckSettings(Section):
    """The weekly evaluation of the detectors on spliced histories of the shop's own users; it also trains one."""

    window_days: Days = Field(365, ge=28, description="Days of interest series that are read.")
    maximum_users: Users = Field(
        300, ge=30, description="Users who are drawn at random and spliced; bounds the running time."
    )
