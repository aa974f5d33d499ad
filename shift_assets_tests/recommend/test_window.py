"""Views of a window: events since a day, and histories as of any event."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.day import day_number
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings
from shift_assets_tests.event_logs import day, random_log

CHOSEN = RecommendationSettings()
LAST = day(19)
UNLEARNED = [name for name, source in GENERATORS.items() if not source.needs_model]


def window_of(seed: int) -> Window:
    return Window.of(random_log(seed, users=8, per_day=6), LAST, CHOSEN)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1_000), st.integers(0, 25))
def test_since_a_day_is_the_log_from_that_day_on(seed: int, first: int) -> None:
    """Every user keeps exactly the events from its day on, and no gap depends on what was before."""
    window = window_of(seed)
    start = day_number(day(first))
    part = window.since(np.full(len(window.sequences.users), start))
    inside = window.sequences.days >= start
    assert part.sequences.items.tolist() == window.sequences.items[inside].tolist()
    assert part.owners.tolist() == window.owners[inside].tolist()
    starts = part.sequences.offsets[:-1][part.sequences.lengths > 0]
    assert (part.sequences.gaps[starts] == 0).all()
