"""Every candidate source, by the name that settings.recommendations.weights gives it a weight under."""

from __future__ import annotations

from shift_assets.recommend.candidates.als import IMPLICIT_ALS
from shift_assets.recommend.candidates.association_rules import ASSOCIATION_RULES
from shift_assets.recommend.candidates.base import CandidateGenerator
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
    source.name: source
    for source in (
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
