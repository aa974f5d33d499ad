"""Parts of a window: what happened since a day, and histories as they stood after any event."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.day import day_number
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.window import Window
from shift_assets.settings.root import RecommendationSettings
from shift_assets_tests.event_logs import day, random_log
from shift_assets_tests.recommend.generator_inputs import generator_inputs

CHOSEN = RecommendationSettings()
LAST = day(19)
UNLEARNED = [name for name, source in GENERATORS.items() if not source.needs_model]


def window_of(seed: int) -> Window:
    return Window.of(random_log(seed, users=8, per_day=6), LAST, CHOSEN)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1_000), st.integers(0, 25))
def test_since_a_day_is_the_log_from_that_day_on(seed: int, first: int) -> None:
    """Every user keeps exactly its events from its day on, and no gap tells of what was before."""
    window = window_of(seed)
    start = day_number(day(first))
    part = window.since(np.full(len(window.sequences.users), start))
    kept = window.sequences.days >= start
    assert part.sequences.items.tolist() == window.sequences.items[kept].tolist()
    assert part.owners.tolist() == window.owners[kept].tolist()
    starts = part.sequences.offsets[:-1][part.sequences.lengths > 0]
    assert (part.sequences.gaps[starts] == 0).all()


@pytest.mark.parametrize("name", UNLEARNED)
def test_a_frozen_generator_scores_a_history_as_of_its_day(name: str) -> None:
    """A prefix of a history scores like the log cut there, one day or none: nothing after it has a say."""
    window = window_of(3)
    scorer_of = GENERATORS[name].fit(generator_inputs(random_log(3, users=8, per_day=6), window, CHOSEN))
    users = np.arange(len(window.sequences.users))
    cut = window.sequences.until(day_number(day(9)))
    prefixes = window.prefixes(users, window.sequences.offsets[:-1] + cut.lengths)
    as_it_stood = replace(window, sequences=cut, today=prefixes.today)
    assert 0 < cut.lengths.sum() < window.sequences.lengths.sum()
    assert scorer_of(prefixes)(users) == pytest.approx(scorer_of(as_it_stood)(users))
