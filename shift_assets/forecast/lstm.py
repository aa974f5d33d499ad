"""A small LSTM over the weeks of the history (Hochreiter & Schmidhuber, Neural Computation 9 (1997))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.forecast.base import Parameters
from shift_assets.forecast.features import Examples

BATCH = 256
LEARNING_RATE = 1e-2


@dataclass(frozen=True)
class LstmPredictor:
    """A fitted LSTM that predicts the difference between the next week's share and the mean share of the history."""

    network: Any

    def predict(self, examples: Examples) -> Float64Array:
        import torch

        with torch.no_grad():
            step = _forward(self.network, torch.from_numpy(examples.history.astype(np.float32)))
        return np.asarray(_mean(examples) + step.numpy().astype(np.float64))


@dataclass(frozen=True)
class Lstm:
    """LSTM trained on the mean squared error; `units` is the size of its state."""

    grid: Sequence[Parameters] = ({"units": 8, "epochs": 6}, {"units": 16, "epochs": 6})

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> LstmPredictor:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = torch.nn.Linear(int(parameters["units"]), 1)
            torch.nn.init.zeros_(head.weight)
            lstm = torch.nn.LSTM(examples.history.shape[2], head.in_features, batch_first=True)
            network = torch.nn.ModuleDict({"lstm": lstm, "head": head})
            history = torch.from_numpy(examples.history.astype(np.float32))
            step = torch.from_numpy((examples.target - _mean(examples)).astype(np.float32))
            epochs, batches = int(parameters["epochs"]), -(-len(examples) // BATCH)
            optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * batches)
            for _ in range(epochs):
                for rows in torch.randperm(len(examples)).split(BATCH):
                    optimiser.zero_grad()
                    loss = torch.nn.functional.mse_loss(_forward(network, history[rows]), step[rows])
                    loss.backward()
                    optimiser.step()
                    schedule.step()
        return LstmPredictor(network.eval())


def _forward(network: Any, history: Any) -> Any:
    states, _ = network["lstm"](history)
    return network["head"](states[:, -1]).squeeze(1)


def _mean(examples: Examples) -> Float64Array:
    return np.asarray(examples.history[:, :, 0].mean(axis=1))
