"""A search tries the given space, deterministically, and returns the best trial."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.models.data.sequences import Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.training.parameters import ModelParameters
from shift_assets.models.training.search import FloatRange, search
from shift_assets_tests.event_logs import ring_log

SETTINGS = ModelParameters(device="cpu", objective="next_event", maximum_epochs=3, batch_size=16, dimensions=16)


def test_the_best_trial_wins_and_the_seed_repeats_it() -> None:
    """On a planted order a learning rate that learns beats those that do not; the same seed tries the same."""
    events = ring_log()
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    last = sequences.items[sequences.offsets[1:] - 1]
    histories = sequences.until(int(sequences.days.max()))
    validation = Validation(histories, np.arange(len(last)), last, masked=True)
    space = {"learning_rate": FloatRange(1e-6, 1e-2, logarithmic=True), "layers": (1, 2)}
    found, again = (
        search(histories, vocabulary, validation, SETTINGS, trials=5, seed=3, space=space) for _ in range(2)
    )
    assert found == again
    finished = [trial for trial in found.trials if trial.ndcg is not None]
    best = max(finished, key=lambda trial: trial.ndcg or 0.0)
    assert best.chosen == {"learning_rate": found.settings.learning_rate, "layers": found.settings.layers}
    assert found.settings.batch_size == SETTINGS.batch_size
    assert all(1e-6 <= trial.chosen["learning_rate"] <= 1e-2 for trial in found.trials)


def test_a_search_without_validation_users_is_refused() -> None:
    """The error says what is missing."""
    events = ring_log(users=3)
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    none = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="no user"):
        search(sequences, vocabulary, Validation(sequences, none, none), SETTINGS, trials=1, seed=1)
