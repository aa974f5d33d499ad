"""Laws that every candidate generator keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shift_assets.contracts.day import day_number
from shift_assets.recommend.candidates.base import GeneratorInputs
from shift_assets.recommend.candidates.item_content import Content
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.candidates.user_signals import UserSignals
from shift_assets.recommend.window import Window
from shift_assets.settings.root import GeneratorName, RecommendationSettings
from shift_assets_tests.event_logs import Row, clean_events, day, random_log
from shift_assets_tests.recommend.generator_inputs import generator_inputs

CHOSEN = RecommendationSettings()
LAST = day(19)
WITHOUT_MODEL = [name for name, generator in GENERATORS.items() if not generator.needs_model]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_has_a_reason_in_every_language(name: GeneratorName) -> None:
    assert set(GENERATORS[name].reasons) == {"en", "zh"}
    assert all(GENERATORS[name].reasons.values())


@pytest.mark.parametrize("name", WITHOUT_MODEL)
def test_a_frozen_generator_scores_a_history_as_of_its_day(name: GeneratorName) -> None:
    """A prefix of a history scores like a log that ends there: nothing after it has an effect."""
    window = Window.of(random_log(3, users=8, per_day=6), LAST, CHOSEN)
    scorer_of = GENERATORS[name].fit(generator_inputs(random_log(3, users=8, per_day=6), window, CHOSEN))
    users = np.arange(len(window.sequences.users))
    truncated = window.sequences.until(day_number(day(9)))
    prefixes = window.prefixes(users, window.sequences.offsets[:-1] + truncated.lengths)
    as_of_the_day = replace(window, sequences=truncated, today=prefixes.today)
    assert 0 < truncated.lengths.sum() < window.sequences.lengths.sum()
    assert scorer_of(prefixes)(users) == pytest.approx(scorer_of(as_of_the_day)(users))


@pytest.mark.parametrize("name", WITHOUT_MODEL)
def test_a_generator_scores_every_item_and_nothing_below_zero(name: GeneratorName) -> None:
    """Scores are finite, 0 or more, one per target user and item, and not all 0."""
    events = random_log(1, per_day=120)
    window = Window.of(events, day(19), RecommendationSettings())
    scores = GENERATORS[name].fit(generator_inputs(events, window, RecommendationSettings()))(window)(
        window.target_users
    )
    assert scores.shape == (len(window.target_users), window.item_count)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert scores.any()


@pytest.mark.parametrize("name", WITHOUT_MODEL)
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(19, "a", "x-1", "return")],
        [(19, "a", "x-1", "view")],
        [(19, "a", "x-1", "view"), (19, "b", "y-1", "view")],
    ],
    ids=["nothing", "a return", "one view", "two users"],
)
def test_a_generator_with_next_to_no_data_gives_finite_scores(
    name: GeneratorName, rows: list[Row], capfd: pytest.CaptureFixture
) -> None:
    """A log without users, or without an item in common, gives scores of the right shape and no warning."""
    events = clean_events(rows)
    window = Window.of(events, day(19), RecommendationSettings())
    inputs = GeneratorInputs(
        window,
        RecommendationSettings(),
        None,
        Content.of(events, window.vocabulary, items=None, external=None, seed=0),
        UserSignals.of(events, None),
    )
    scores = GENERATORS[name].fit(inputs)(window)(window.target_users)
    assert scores.shape == (len(window.target_users), window.item_count)
    assert np.isfinite(scores).all()
    assert capfd.readouterr().err == ""
