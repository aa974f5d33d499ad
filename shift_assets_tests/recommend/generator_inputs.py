"""Inputs of a candidate generator from a small log."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.recommend.candidates.base import GeneratorInputs
from shift_assets.recommend.candidates.item_content import Content
from shift_assets.recommend.candidates.user_signals import UserSignals
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings

ITEMS = pa.schema([("item_id", pa.string()), ("category", pa.string()), ("price", pa.float64()), ("text", pa.string())])


def generator_inputs(events: pa.Table, window: Window, settings: RecommendationSettings) -> GeneratorInputs:
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
    return GeneratorInputs(
        window,
        settings,
        None,
        content=Content.of(events, window.vocabulary, items=None, external=None, seed=0),
        signals=UserSignals.of(events, signals),
    )
