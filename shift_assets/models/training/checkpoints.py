"""The state of a training on disk, from which a killed training continues to the same final weights.

One safetensors file, without pickle: weights, the optimiser's moments, the best weights so far and torch's random
state, and in the header the progress. Examples are drawn again from their seed, and those already seen are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from shift_assets.errors import UserError

_HEADER = "training"


@dataclass
class Progress:
    """Progress of a training: its step, the evaluation steps (as in `CurvePoint`), and the best of them."""

    step: int = 0
    best_step: int = 0
    best_ndcg: float = -1.0
    evaluations_without_gain: int = 0
    curve: list[tuple[int, float | None, float | None, float | None]] = field(default_factory=list)


class CheckpointError(UserError):
    """A checkpoint cannot be continued; the message names the file and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file; `fingerprint` identifies the training it belongs to."""

    path: Path
    fingerprint: str

    def exists(self) -> bool:
        return self.path.exists()

    def save(
        self, progress: Progress, modules: nn.Module, best: Mapping[str, Tensor], optimiser: torch.optim.Optimizer
    ) -> None:
        """Write the state of a training atomically.

        Args:
            progress: Progress of the training.
            modules: All modules in training.
            best: The best weights so far.
            optimiser: The optimiser of the modules' weights.
        """
        tensors = {f"weights.{name}": value for name, value in modules.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        for number, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        tensors["random"] = torch.get_rng_state()
        detached = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        header = json.dumps({"fingerprint": self.fingerprint, "progress": asdict(progress)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        building = self.path.with_suffix(".building")
        with building.open("wb") as file:
            file.write(safetensors.torch.save(detached, metadata={_HEADER: header}))
            file.flush()
            os.fsync(file.fileno())
        building.replace(self.path)

    def load(self, modules: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[Progress, dict[str, Tensor]]:
        """Restore `modules`, `optimiser` and torch's random state.

        Returns:
            The progress, and the best weights so far.

        Raises:
            CheckpointError: The file is damaged, or belongs to another training.
        """
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                header = json.loads(file.metadata()[_HEADER])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path}: not a readable checkpoint ({error}); delete it to train from scratch"
            ) from error
        if header["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"{self.path}: belongs to a training with other settings, seed or events; "
                "delete it to train from scratch"
            )
        modules.load_state_dict(_with_prefix(tensors, "weights"))
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(tensors, "optimiser").items():
            number, _, moment = name.partition(".")
            states.setdefault(int(number), {})[moment] = value
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random"])
        progress = Progress(**header["progress"])
        progress.curve = [(point[0], point[1], point[2], point[3]) for point in progress.curve]
        return progress, _with_prefix(tensors, "best")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
