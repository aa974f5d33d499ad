"""Which policy makes a user's recommendations, and how the platform learns from the outcomes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from shift_assets.settings.section import Days, DaysFloat, Section, Share, Unit

POLICIES = ("unadjusted", "recency_reweighted", "shift_adjusted", "exploring")
"""No adaptation; recent events alone count; adapted to rising interests; that, with some positions drawn at random."""
_ARM = re.compile(rf"(?:{'|'.join(POLICIES)})|shift_adjusted@(?:0(?:\.[0-9]+)?|1(?:\.0+)?)")


class ExperimentSettings(Section):
    """Assignment of users to arms.

    An arm is a policy's name, or `shift_adjusted@w` with the weight w (0 to 1) of the rising interests.
    """

    name: str = Field(
        "lists", min_length=1, description="Name of the experiment; another name assigns every user to an arm afresh."
    )
    shares: Annotated[dict[str, float], Unit("share of users")] = Field(
        default={"unadjusted": 0.1, "recency_reweighted": 0.05, "shift_adjusted": 0.8, "exploring": 0.05},
        min_length=1,
        description="Share of the users in each arm while `learning` is `fixed`; the shares sum to 1.",
    )
    learning: Literal["fixed", "thompson", "linucb"] = Field(
        "fixed",
        description="How shares are set: `fixed` as in `shares`, otherwise a bandit that learns from past outcomes per "
        "segment and kind of shift.",
    )
    reward: Literal["clicked", "purchased"] = Field("clicked", description="Outcome that a bandit rewards.")
    half_life_days: DaysFloat = Field(28, gt=0, description="Days after which an outcome counts half for a bandit.")
    minimum_share: Share = Field(0.05, ge=0, lt=1, description="Smallest share that a bandit gives an arm.")
    maximum_exploring_share: Share = Field(
        0.2, ge=0, le=1, description="Largest share of the arm `exploring`, under any `learning`."
    )
    exploration_slots: Annotated[int, Unit("positions")] = Field(
        2, ge=0, description="Last positions of an exploring user's recommendations that are drawn at random."
    )
    period_days: Days = Field(
        28, ge=1, description="Length of one period of the experiment report; each period starts from zero."
    )

    @field_validator("shares")
    @classmethod
    def _known_arms(cls, shares: dict[str, float]) -> dict[str, float]:
        unknown = sorted(arm for arm in shares if not _ARM.fullmatch(arm))
        if unknown:
            raise ValueError(f"unknown arms {unknown}; an arm is one of {', '.join(POLICIES)}, or shift_adjusted@0.75")
        if min(shares.values()) <= 0:
            raise ValueError("an arm's share must be positive; leave out an arm that nobody is assigned to")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"the shares sum to {sum(shares.values()):g}, not to 1")
        return shares

    @model_validator(mode="after")
    def _bounds_fit(self) -> ExperimentSettings:
        if self.minimum_share * len(self.shares) > 1:
            raise ValueError(f"minimum_share {self.minimum_share} times {len(self.shares)} arms is more than 1")
        if "exploring" in self.shares and self.minimum_share > self.maximum_exploring_share:
            raise ValueError(
                f"minimum_share {self.minimum_share} lies above maximum_exploring_share {self.maximum_exploring_share}"
            )
        if self.shares.get("exploring", 0.0) > self.maximum_exploring_share:
            raise ValueError(
                f"the share {self.shares['exploring']} of exploring lies above maximum_exploring_share "
                f"{self.maximum_exploring_share}"
            )
        return self
