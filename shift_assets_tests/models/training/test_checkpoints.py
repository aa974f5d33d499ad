"""A training that was killed ends in the bytes of one that was not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shift_assets.models.data.sequences import Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.training.checkpoints import CheckpointError
from shift_assets.models.training.fit import CurvePoint, FitResult, fit
from shift_assets.models.training.parameters import ModelParameters
from shift_assets_tests.event_logs import random_log

SETTINGS = ModelParameters(
    device="cpu", objective="next_event", dimensions=16, maximum_epochs=6, batch_size=8, patience=9, dropout=0.2
)


class Killed(Exception):
    """Simulates a killed process."""


def train_briefly(checkpoint: Path | None, *, kill_at: int | None = None, seed: int = 1) -> FitResult:
    events = random_log(2)
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    last = sequences.items[sequences.offsets[1:] - 1]
    points: list[CurvePoint] = []

    def on_progress(point: CurvePoint) -> None:
        points.append(point)
        if kill_at is not None and len(points) > kill_at:
            raise Killed

    validation = Validation(sequences, np.arange(len(last)), last)
    return fit(sequences, vocabulary, validation, SETTINGS, seed=seed, checkpoint=checkpoint, on_progress=on_progress)


def weights(fitted: FitResult) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in fitted.model.network.state_dict().items()}


@pytest.mark.parametrize("kill_at", [1, 4])
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path: Path, kill_at: int) -> None:
    """The same weights, curve and choice, whenever it was killed; the checkpoint is removed at the end."""
    file = tmp_path / "training.safetensors"
    with pytest.raises(Killed):
        train_briefly(file, kill_at=kill_at)
    assert file.exists()
    resumed, whole = train_briefly(file), train_briefly(None)
    assert weights(resumed) == weights(whole)
    assert (resumed.curve, resumed.best_step) == (whole.curve, whole.best_step)
    assert not file.exists()


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """Another seed, or a damaged file, is an error that says what to do, not a wrong model."""
    file = tmp_path / "training.safetensors"
    with pytest.raises(Killed):
        train_briefly(file, kill_at=2)
    with pytest.raises(CheckpointError, match="delete it to train from scratch"):
        train_briefly(file, seed=2)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="delete it to train from scratch"):
        train_briefly(file)
