"""Recommendations: candidate generators, the ranking of their candidates, and what is excluded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shift_assets.settings.section import Count, Days, DaysFloat, Items, Section, Share, Unit

GeneratorName = Literal[
    "interest_model",
    "repeats",
    "item_neighbours",
    "transitions",
    "users_alike",
    "factorisation",
    "autoencoder",
    "baskets",
    "content",
    "reviews",
    "popularity",
]


class RecommendationSettings(Section):
    """What is recommended to whom, and from which candidates."""

    k: Items = Field(20, ge=1, description="Items recommended to a user.")
    look_back_days: Days = Field(
        90, ge=1, description="Days of events that collaborative filtering and user profiles are built from."
    )
    active_within_days: Days = Field(28, ge=1, description="Users who were active this recently get recommendations.")
    half_life_days: DaysFloat = Field(
        60, gt=0, description="Days after which an event counts half in a user's profile."
    )
    item_vectors: Path | None = Field(
        None,
        description="Parquet file of `item_id` and `vector`: item embeddings of another model; `null` uses the item "
        "texts.",
    )
    signals: Path | None = Field(
        None,
        description="Parquet file of `day`, `user_id`, `weight`, and `text` or `category`: interest observed "
        "elsewhere.",
    )
    blend: Literal["learned", "fixed"] = Field(
        "learned",
        description="`learned`: weights of the candidate generators are fitted weekly to what users took next; "
        "`fixed`: `weights` apply.",
    )
    candidate_generators: tuple[GeneratorName, ...] = Field(
        (
            "interest_model",
            "repeats",
            "item_neighbours",
            "transitions",
            "factorisation",
            "content",
            "reviews",
            "popularity",
        ),
        description="Candidate generators of the learned blend. Left out because they added next to nothing: `baskets` "
        "(most of the cost of a day), `autoencoder` (cost grows with the cube of the items), `users_alike`.",
    )
    popularity_days: Days = Field(7, ge=1, description="Days of events that the generator `popularity` counts.")
    candidates: Items = Field(
        100, ge=1, description="Candidates per user that each generator of the learned blend contributes."
    )
    validation_days: Days = Field(7, ge=1, description="Days whose events a learned blend is fitted to predict.")
    validation_rounds: Count = Field(
        4, ge=1, description="Consecutive spans of `validation_days` that a learned blend is fitted on."
    )
    weights: Annotated[dict[GeneratorName, float], Unit("weight")] = Field(
        default={
            "interest_model": 1.0,
            "repeats": 1.0,
            "item_neighbours": 0.5,
            "transitions": 0.25,
            "popularity": 0.1,
        },
        description="Weight of each candidate generator in the fixed blend; a generator with weight 0 or none is not "
        "used.",
    )
    diversity: Share = Field(
        0.0, ge=0, le=1, description="Weight of diversity against relevance when reranking; 0 switches it off."
    )
    calibration: Share = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of keeping the user's mix of categories when reranking; 0 switches it off.",
    )
    fresh_slots: Annotated[int, Unit("positions")] = Field(
        0, ge=0, description="Last positions reserved for items that are new to the shop, at least."
    )
    fresh_days: Days = Field(14, ge=1, description="An item is new for this many days after it was first seen.")
    exclude_bought_days: Days = Field(
        1,
        ge=0,
        description="Items that the user bought this recently are not recommended: 1 excludes today's purchases, 0 "
        "none. Wholesalers buy the same item again within days.",
    )
    exclude_returned_days: Days = Field(
        90, ge=0, description="Items that the user returned this recently are not recommended; 0 excludes none."
    )
    catalogue_days: Days = Field(
        28, ge=1, description="An item without events for this many days counts as gone from the catalogue."
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> RecommendationSettings:
        if self.diversity + self.calibration > 1:
            raise ValueError("diversity and calibration are shares of one weight: together at most 1")
        return self
