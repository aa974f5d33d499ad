"""How far recommendations follow a shift of interest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shift_assets.settings.section import DaysFloat, Section, Unit


class AdaptationSettings(Section):
    """How much weight recommendations give to what a user did since a probable shift."""

    short_term_weight: Annotated[float, Unit("share")] = Field(
        1.0,
        ge=0,
        le=1,
        description="Weight of the short-term interest when a shift is certain; 0 switches adaptation off.",
    )
    doubt: Annotated[float, Unit("nats")] = Field(
        2.0,
        ge=0,
        description="Log-odds subtracted from the shift classifier, because shifts are rarer among users than in its "
        "training data. Use 1 where recommendations are made before every event.",
    )
    half_life_days: DaysFloat = Field(
        30, gt=0, description="Days since the start of a shift after which the short-term weight has halved."
    )
    rising_weight: Annotated[float, Unit("share")] = Field(
        0.5,
        ge=0,
        le=1,
        description="Weight of the rising categories in the recommendations of a user with an open alert.",
    )
