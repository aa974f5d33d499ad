"""Processes that share each step train what one process trains."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shift_assets.models.data.sequences import Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.training.distributed import Ranks
from shift_assets.models.training.fit import fit
from shift_assets.models.training.parameters import ModelParameters
from shift_assets_tests.event_logs import random_log

pytestmark = pytest.mark.slow


def train_and_save(file: Path, *, distributed: bool) -> None:
    events = random_log(2)
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    last = sequences.items[sequences.offsets[1:] - 1]
    settings = ModelParameters(
        device="cpu", objective="next_event", dimensions=16, maximum_epochs=2, batch_size=8, dropout=0.0,
        precision="float32", distributed=distributed,
    )  # fmt: skip
    fitted = fit(sequences, vocabulary, Validation(sequences, np.arange(len(last)), last), settings, seed=1)
    torch.save(fitted.model.network.state_dict(), file)


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Without dropout the weights are the same but for the last digits, in both processes to the last bit."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from pathlib import Path; from {0} import train_and_save; train_and_save(Path({1!r}), distributed=True)"
    running = []
    for rank in range(2):
        group = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-c", code.format(__name__, str(tmp_path / f"{rank}.pt"))]
        running.append(subprocess.Popen(command, env=os.environ | group, cwd=Path(__file__).parents[3]))
    train_and_save(tmp_path / "alone.pt", distributed=False)
    assert [process.wait(120) for process in running] == [0, 0]
    first, second, alone = (torch.load(tmp_path / f"{name}.pt") for name in ("0", "1", "alone"))
    assert all(torch.equal(first[name], second[name]) for name in alone)
    torch.testing.assert_close(first, alone, atol=1e-4, rtol=1e-3)


def test_a_single_process_keeps_its_gradients() -> None:
    """A process that torchrun did not start keeps its rows and its gradients."""
    alone = Ranks.from_environment(torch.device("cpu"))
    assert alone == Ranks()
    assert alone.shard(np.arange(5)).tolist() == [0, 1, 2, 3, 4]


def test_a_step_smaller_than_the_group_is_refused() -> None:
    """The error says which setting is too small."""
    from shift_assets.models.training.examples import Examples, Points

    events = random_log(2)
    vocabulary = Vocabulary.of(events)
    settings = ModelParameters(objective="next_event", batch_size=2)
    points = Points.of(pack(events, vocabulary), settings)
    with pytest.raises(ValueError, match="batch_size 2"):
        Examples(points, len(vocabulary.items), settings, repeats=False, newest_first=False, ranks=Ranks(0, 3))
