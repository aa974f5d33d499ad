"""The state of a training on disk, so that a killed one goes on where it was and ends in the same bytes.

One safetensors file, without pickle: weights, the optimiser's moments, the best weights so far, the random state of
torch, and in the header how far the training is. Examples are drawn again from their seed and skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

_HEADER = "training"


@dataclass
class Progress:
    """How far a training is: its step, the looks (as `CurvePoint` has them), and the best of them."""

    step: int = 0
    best_step: int = 0
    best_ndcg: float = -1.0
    evaluations_without_gain: int = 0
    curve: list[tuple[int, float | None, float | None, float | None]] = field(default_factory=list)


class CheckpointError(ValueError):
    """A checkpoint cannot be continued; the message names the file and what to do."""


def save_checkpoint(
    path: Path, fingerprint: str, progress: Progress, modules: nn.Module, state: Mapping[str, Mapping[Any, Any]]
) -> None:
    """Write in one rename: the weights of `modules`, and in `state` the `best` ones and the `optimiser`'s state.

    `fingerprint` says what is trained on what.
    """
    tensors = {f"weights.{name}": value for name, value in modules.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in state["best"].items()}
    for number, moments in state["optimiser"].items():
        tensors |= {f"optimiser.{number}.{name}": value for name, value in moments.items()}
    tensors["random"] = torch.get_rng_state()
    detached = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = json.dumps({"fingerprint": fingerprint, "progress": asdict(progress)})
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(".building")
    with building.open("wb") as file:
        file.write(safetensors.torch.save(detached, metadata={_HEADER: header}))
        file.flush()
        os.fsync(file.fileno())
    building.replace(path)


def load_checkpoint(
    path: Path, fingerprint: str, modules: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Put the state back into `modules`, `optimiser` and torch's random state; the progress and the best weights.

    Raises CheckpointError where the file is damaged, or is of another training.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: no checkpoint of this program ({error}); delete it to train anew") from error
    if header["fingerprint"] != fingerprint:
        raise CheckpointError(f"{path}: of a training with other settings, seed or events; delete it to train anew")
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


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
