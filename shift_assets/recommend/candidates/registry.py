"""Every candidate generator by its name in the settings; a new one is one line here."""

from __future__ import annotations

from collections.abc import Sequence

from shift_assets.recommend.candidates.als import IMPLICIT_ALS
from shift_assets.recommend.candidates.association_rules import ASSOCIATION_RULES
from shift_assets.recommend.candidates.base import CandidateGenerator, FittedGenerator, GeneratorInputs
from shift_assets.recommend.candidates.content import CONTENT
from shift_assets.recommend.candidates.ease import EASE
from shift_assets.recommend.candidates.interest_model import INTEREST_MODEL
from shift_assets.recommend.candidates.item_neighbours import ITEM_NEIGHBOURS
from shift_assets.recommend.candidates.item_transitions import ITEM_TRANSITIONS
from shift_assets.recommend.candidates.popularity import POPULARITY
from shift_assets.recommend.candidates.repeat_consumption import REPEAT_CONSUMPTION
from shift_assets.recommend.candidates.reviews import REVIEWS
from shift_assets.recommend.candidates.user_neighbours import USER_NEIGHBOURS
from shift_assets.settings.root import GeneratorName

GENERATORS: dict[GeneratorName, CandidateGenerator] = {
    generator.name: generator
    for generator in (
        INTEREST_MODEL,
        REPEAT_CONSUMPTION,
        ITEM_NEIGHBOURS,
        ITEM_TRANSITIONS,
        USER_NEIGHBOURS,
        IMPLICIT_ALS,
        EASE,
        ASSOCIATION_RULES,
        CONTENT,
        REVIEWS,
        POPULARITY,
    )
}


def fit_generators(inputs: GeneratorInputs, names: Sequence[GeneratorName]) -> dict[GeneratorName, FittedGenerator]:
    """Fit the generators of these names that the inputs allow."""
    return {name: GENERATORS[name].fit(inputs) for name in names if GENERATORS[name].can_fit(inputs)}
