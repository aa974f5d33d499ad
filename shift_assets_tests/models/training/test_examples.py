"""What a training step reads, with and without what is varied at random."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from shift_assets.models.data.sequences import Sequences, Vocabulary, pack
from shift_assets.models.training.examples import Example, Examples, Points
from shift_assets.models.training.parameters import ModelParameters
from shift_assets_tests.event_logs import random_log


def log() -> tuple[Sequences, Vocabulary]:
    events = random_log(3)
    vocabulary = Vocabulary.of(events)
    return pack(events, vocabulary), vocabulary


def epoch(**chosen: object) -> tuple[Sequences, list[Example]]:
    sequences, vocabulary = log()
    settings = ModelParameters.model_validate(
        {"objective": "next_event", "batch_size": 4, "maximum_length": 20, **chosen}
    )
    examples = Examples(
        Points.of(sequences, settings), len(vocabulary.items), settings, repeats=False, newest_first=False
    )
    return sequences, list(islice(examples.steps(np.random.default_rng(0)), examples.steps_per_epoch))


@pytest.mark.parametrize("objective", ["next_days", "next_event"])
def test_an_epoch_reads_every_point_once(objective: str) -> None:
    """For any division of histories into chunks; and a point's token is its event."""
    sequences, steps = epoch(objective=objective)
    settings = ModelParameters.model_validate({"objective": objective})
    events = np.concatenate([example.events for example in steps])
    assert np.array_equal(np.sort(events), Points.of(sequences, settings).events)
    for example in steps:
        assert np.array_equal(example.batch.items[example.points].numpy(), sequences.items[example.events])


def test_the_target_of_an_event_is_the_next_item() -> None:
    """The target of a point is the item of the event after it."""
    sequences, steps = epoch()
    for example in steps:
        assert np.array_equal(example.targets.candidates.numpy() + 1, sequences.items[example.events + 1])


def test_a_crop_takes_the_beginning_and_leaves_a_point() -> None:
    """Fewer tokens in all, the same number of histories per step, each with something to learn."""
    (_, whole), (_, cropped) = epoch(), epoch(cropped_share=1.0)
    for one, other in zip(whole, cropped, strict=True):
        assert len(one.batch.bounds) == len(other.batch.bounds)
        points, bounds = other.points.numpy(), other.batch.bounds.numpy()
        assert (np.diff(np.searchsorted(points, bounds)) > 0).all()
    assert sum(len(step.points) for step in cropped) < sum(len(step.points) for step in whole)


def test_hidden_events_keep_their_place_and_their_target() -> None:
    """About the asked share of items is unknown to the encoder; the targets stay."""
    (_, whole), (_, hidden) = epoch(), epoch(hidden_share=0.3)
    share = np.mean(np.concatenate([step.batch.items.numpy() == 0 for step in hidden]))
    assert 0.2 < share < 0.4
    assert sum(len(step.targets.points) for step in hidden) == sum(len(step.targets.points) for step in whole)
