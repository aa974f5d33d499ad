"""Everything that a source may learn from, made of a small log."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.recommend.content import Content
from shift_assets.recommend.reviews import Signals
from shift_assets.recommend.source import Inputs
from shift_assets.recommend.window import Window
from shift_assets.settings import RecommendationSettings

ITEMS = pa.schema([("item_id", pa.string()), ("category", pa.string()), ("price", pa.float64()), ("text", pa.string())])


def inputs_of(events: pa.Table, window: Window, settings: RecommendationSettings) -> Inputs:
    """`window` of `events` with the items' content, and a signal of every user for the first category."""
    users = list(window.sequences.users)
    signals = pa.table(
        {
            "day": [events["day"][0].as_py()] * len(users),
            "user_id": users,
            "text": pa.nulls(len(users), pa.string()),
            "category": [window.vocabulary.categories[0]] * len(users),
            "weight": [1.0] * len(users),
        }
    )
    return Inputs(
        window,
        settings,
        None,
        content=Content.of(events, window.vocabulary, items=None, delivered=None, seed=0),
        signals=Signals.of(events, signals),
    )
