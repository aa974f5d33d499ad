"""Cross-entropy of what vectors foretell, over all items or over some, in bounded memory.

The logits of a chunk of points become their gradient at once, so neither the logits nor the probabilities of all
points ever exist together, and nothing is computed twice (the head of a language model is the same shape: Liger
kernels, Hsu et al. 2024, arXiv 2410.10989). On a CPU a chunk also stays in the cache.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

CHUNK_LOGITS = {"cpu": 1 << 20, "cuda": 1 << 27}
"""Logits held at once. Measured on a CPU: beyond its second-level cache a softmax takes three times as long."""
LEAST_CHUNK = 64
"""Points of a chunk at least: a narrower matrix product wastes the processor."""
SMALLEST_SHARE = torch.finfo(torch.float32).tiny
"""A share below this is told as this: the loss of one point is at most 87 nats. Gradients are exact."""


class Targets(NamedTuple):
    """What points foretell: candidate `candidates[entry]` has share `weights[entry]` of point `points[entry]`.

    Sorted by point; the shares of a point sum to 1.
    """

    points: Tensor
    candidates: Tensor
    weights: Tensor


class Raised(NamedTuple):
    """Logits raised by `amounts[entry]` for candidate `candidates[entry]` of point `points[entry]`, by point."""

    points: Tensor
    candidates: Tensor
    amounts: Tensor


def cross_entropy(
    vectors: Tensor, table: Tensor, bias: Tensor, targets: Targets, raised: Raised | None, *, half: bool
) -> Tensor:
    """Mean over points of the cross-entropy between what a point foretells and the softmax of its logits.

    Logits are `vectors` [point, dimension] times `table` [candidate, dimension] plus `bias` [candidate] plus what is
    raised. `half`: the large products are of bfloat16 numbers, three times as fast where the processor has them;
    sums and weights stay float32.
    """
    if raised is None:
        empty = vectors.new_zeros(0)
        raised = Raised(empty.long(), empty.long(), empty)
    loss: Tensor = _ChunkedCrossEntropy.apply(vectors, table, bias, raised.amounts, _Plan(targets, raised, half))
    return loss


def plain_cross_entropy(
    vectors: Tensor, table: Tensor, bias: Tensor, targets: Targets, raised: Raised | None
) -> Tensor:
    """The same with all logits in memory at once, left to automatic differentiation."""
    logits = torch.nn.functional.linear(vectors, table, bias)
    if raised is not None:
        logits = logits.index_put((raised.points, raised.candidates), raised.amounts, accumulate=True)
    log_shares = torch.log_softmax(logits, dim=1)
    return -(log_shares[targets.points, targets.candidates] * targets.weights).sum() / len(vectors)


class _Plan(NamedTuple):
    targets: Targets
    raised: Raised
    half: bool


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Gradients are made on the way forward: backward only multiplies them by what comes from above."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        vectors, table, bias, amounts, (targets, raised, half) = inputs
        number = torch.bfloat16 if half else vectors.dtype
        low_vectors, low_table, low_bias = vectors.to(number), table.to(number), bias.to(number)
        size = max(LEAST_CHUNK, CHUNK_LOGITS[vectors.device.type] // max(len(table), 1))
        edges = [*range(0, len(vectors), size), len(vectors)]
        at = torch.tensor(edges, device=vectors.device)
        target_edges = torch.searchsorted(targets.points, at).tolist()
        raised_edges = torch.searchsorted(raised.points, at).tolist()
        gradient, amount_gradient = torch.empty_like(vectors), torch.empty_like(amounts)
        table_gradient, bias_gradient = torch.zeros_like(table), torch.zeros_like(bias)
        loss = vectors.new_zeros(())
        for place, (start, end) in enumerate(pairwise(edges)):
            mine = slice(raised_edges[place], raised_edges[place + 1])
            wanted = slice(target_edges[place], target_edges[place + 1])
            raised_at = (raised.points[mine] - start, raised.candidates[mine])
            target_at = (targets.points[wanted] - start, targets.candidates[wanted])
            weights = targets.weights[wanted]
            logits = torch.addmm(low_bias, low_vectors[start:end], low_table.T)
            if len(raised_at[0]):
                logits.index_put_(raised_at, amounts[mine].to(number), accumulate=True)
            shares = torch.softmax(logits, dim=1)
            loss -= (shares[target_at].float().clamp(min=SMALLEST_SHARE).log() * weights).sum()
            shares.index_put_(target_at, -weights.to(number), accumulate=True)
            gradient[start:end] = shares @ low_table
            table_gradient += shares.T @ low_vectors[start:end]
            bias_gradient += shares.sum(0)
            amount_gradient[mine] = shares[raised_at].to(amounts.dtype)
        ctx.save_for_backward(gradient, table_gradient, bias_gradient, amount_gradient)
        ctx.scale = 1 / max(len(vectors), 1)
        mean: Tensor = loss * ctx.scale
        return mean

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * (upstream[0] * ctx.scale) for saved in ctx.saved_tensors), None)
