"""A training spread over processes that torchrun started: each reads its share of a step, and gradients are averaged.

    torchrun --nproc-per-node 8 program.py

The weights stay the same in all processes: same start, same averaged gradients, same looks at the validation.
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
    """This process's number and how many there are."""

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls, device: torch.device) -> Ranks:
        """The group of processes that the environment tells of; alone where torchrun did not start this one."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size())

    def shard(self, rows: Int64Array) -> Int64Array:
        """Every `count`-th row, from this process's number on."""
        return rows[self.rank :: self.count]

    def average_gradients(self, weights: Iterable[torch.Tensor], points: int) -> None:
        """Replace gradients of means over `points` points here by those of the mean over the points of all."""
        if self.count == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.ravel() for gradient in gradients])
        flat = torch.cat([flat * points, flat.new_tensor([points])])
        distributed.all_reduce(flat)
        mean = flat[:-1] / flat[-1]
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
