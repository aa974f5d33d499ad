"""Data-parallel training over the processes of torchrun: each reads its share of a step; gradients are averaged.

    torchrun --nproc-per-node 8 program.py

The weights stay the same in all processes: same start, same averaged gradients, same evaluation steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import distributed

from shift_assets.arrays import Int64Array


@dataclass(frozen=True)
class Ranks:
    """Rank of this process, and number of processes."""

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls, device: torch.device) -> Ranks:
        """The process group described by the environment; a single process where torchrun did not start this one."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size())

    def shard(self, rows: Int64Array) -> Int64Array:
        """Every `count`-th row, from this process's rank on."""
        return rows[self.rank :: self.count]

    def average_gradients(self, weights: Iterable[torch.Tensor], points: int) -> None:
        """Replace the gradients of a mean over this process's `points` points by those of the mean over all points."""
        if self.count == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.ravel() for gradient in gradients])
        flat = torch.cat([flat * points, flat.new_tensor([points])])
        distributed.all_reduce(flat)
        mean = flat[:-1] / flat[-1]
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
