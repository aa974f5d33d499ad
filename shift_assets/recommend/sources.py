"""Every candidate source, by the name that settings.recommendations.weights gives it a weight under."""

from __future__ import annotations

from shift_assets.recommend.autoencoder import AUTOENCODER
from shift_assets.recommend.baskets import BASKETS
from shift_assets.recommend.content import CONTENT
from shift_assets.recommend.factorisation import FACTORISATION
from shift_assets.recommend.learned import INTEREST_MODEL
from shift_assets.recommend.neighbours import ITEM_NEIGHBOURS
from shift_assets.recommend.popularity import POPULARITY
from shift_assets.recommend.repeats import REPEATS
from shift_assets.recommend.reviews import REVIEWS
from shift_assets.recommend.source import Source
from shift_assets.recommend.transitions import TRANSITIONS
from shift_assets.recommend.users_alike import USERS_ALIKE
from shift_assets.settings import SourceName

SOURCES: dict[SourceName, Source] = {
    source.name: source
    for source in (
        INTEREST_MODEL,
        REPEATS,
        ITEM_NEIGHBOURS,
        TRANSITIONS,
        USERS_ALIKE,
        FACTORISATION,
        AUTOENCODER,
        BASKETS,
        CONTENT,
        REVIEWS,
        POPULARITY,
    )
}
