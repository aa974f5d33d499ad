"""How events become interest scores and user features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shift_assets.settings.section import Count, Days, Section, Unit


class InterestSettings(Section):
    """How the events of a day become interest scores."""

    score: Literal["weighted", "click_through", "conversion", "amount"] = Field(
        "weighted",
        description="`weighted` sums `weights`; `click_through` and `conversion` are rates per user and category; "
        "`amount` is money spent.",
    )
    weights: Annotated[dict[str, float], Unit("points per event")] = Field(
        default={"view": 1, "click": 1, "favorite": 2, "cart": 3, "purchase": 4, "return": -4, "review": 1},
        description="Points per event of a behaviour. A rating counts its stars minus 3.",
    )

    @model_validator(mode="after")
    def _known_behaviors(self) -> InterestSettings:
        from shift_assets.contracts.cleaning import BEHAVIORS

        unknown = sorted(set(self.weights) - set(BEHAVIORS))
        if unknown:
            raise ValueError(f"weights for unknown behaviours {unknown}; known: {', '.join(BEHAVIORS)}")
        return self


class FeatureSettings(Section):
    """The user features and the embeddings of interests."""

    look_back_days: Days = Field(28, ge=1, description="Days of interest series that the features are computed from.")
    embedding_dimensions: Count = Field(32, ge=2, description="Length of the embedding vectors of users.")
