"""Losses of the next item, over all items or over sampled candidates, in bounded memory.

The logits of a chunk of points are turned into their gradient at once, so that the logits and probabilities of all
points never exist together and nothing is computed twice (as in the Liger kernels for the head of a language model,
Hsu et al. 2024, arXiv 2410.10989).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.models.training.parameters import ModelParameters

CHUNK_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 27}
"""Logits held at once. Measured on a CPU with 8,000 items: chunks of 64 points take 45 µs a point, of 512 33 µs."""
MINIMUM_CHUNK = 64
"""Fewest points of a chunk: a narrower matrix product wastes the processor."""
SMALLEST_SHARE = torch.finfo(torch.float32).tiny
"""Smallest share in the reported loss, which limits the loss of a point to 87 nats; gradients are exact."""


class Targets(NamedTuple):
    """Targets: candidate `candidates[entry]` has share `weights[entry]` of point `points[entry]`.

    Sorted by point; the shares of a point sum to 1.
    """

    points: Tensor
    candidates: Tensor
    weights: Tensor


class LogitBoosts(NamedTuple):
    """Additions `amounts[entry]` to the logit of candidate `candidates[entry]` of point `points[entry]`, by point."""

    points: Tensor
    candidates: Tensor
    amounts: Tensor


class NegativeSampling(NamedTuple):
    """Number of sampled negatives among the candidates, number of items, and gBCE's calibration t."""

    drawn: int
    items: int
    calibration: float


def chosen_loss(settings: ModelParameters, items: int) -> Literal["full", "chunked", "sampled", "gbce"]:
    """The loss that the settings choose for a catalogue of this many items."""
    if settings.loss != "auto":
        return settings.loss
    return "chunked" if items <= settings.full_softmax_items else "sampled"


class Negatives:
    """Sampler of negatives, which all points of a step share: one matrix product for all of them.

    A step draws `settings.negatives` item codes, minus duplicates and the step's own items; uniformly, or half of them
    in proportion to the log's events (`settings.negative_sampling`). The correction of a sampled item, -log of the
    probability that it is drawn, makes the softmax's sum over own and sampled items an unbiased estimate of the sum
    over all items (log-Q: Bengio & Senécal 2008; Horvitz & Thompson 1952).
    """

    def __init__(self, events: Int64Array, settings: ModelParameters) -> None:
        """Compute the corrections; `events` [item code] counts the log's events of every item."""
        items = len(events) - 1
        self.items = items
        self._by_share = settings.negatives // 2 if settings.negative_sampling == "mixed" else 0
        self._uniform = settings.negatives - self._by_share
        shares = np.append(0, events[1:]) / max(events[1:].sum(), 1)
        self._cumulative = np.cumsum(shares)
        log_not_drawn = self._uniform * np.log1p(-1 / max(items, 2)) + self._by_share * np.log1p(
            -np.minimum(shares, 0.999)
        )
        self._corrections = (-np.log(-np.expm1(log_not_drawn))).astype(np.float32)

    def draw(self, own: Int64Array, random: np.random.Generator) -> tuple[Int64Array, Float32Array]:
        """Sampled codes that are not in `own`, sorted, and their corrections."""
        drawn = random.integers(1, self.items + 1, self._uniform)
        if self._by_share:
            position = np.searchsorted(self._cumulative, random.random(self._by_share), side="right")
            drawn = np.append(drawn, np.minimum(position, self.items))
        drawn = np.setdiff1d(drawn, own)
        return drawn, self._corrections[drawn]


def cross_entropy(
    vectors: Tensor, table: Tensor, bias: Tensor, targets: Targets, boosts: LogitBoosts | None, *, mixed_precision: bool
) -> Tensor:
    """Mean over points of the cross-entropy between targets and the softmax of the logits, computed in chunks.

    Args:
        vectors: Vectors [point, dimension].
        table: Item table [candidate, dimension]; logits are its products with the vectors, plus bias and boosts.
        bias: Bias [candidate].
        targets: The targets of the points.
        boosts: Additions to single logits.
        mixed_precision: Use bfloat16 for the large products, three times as fast on processors made for it; sums and
            weights stay float32.
    """
    if boosts is None:
        empty = vectors.new_zeros(0)
        boosts = LogitBoosts(empty.long(), empty.long(), empty)
    loss: Tensor = _ChunkedCrossEntropy.apply(
        vectors, table, bias, boosts.amounts, _Plan(targets, boosts, mixed_precision)
    )
    return loss


def plain_cross_entropy(
    vectors: Tensor, table: Tensor, bias: Tensor, targets: Targets, boosts: LogitBoosts | None
) -> Tensor:
    """The same as `cross_entropy`, with all logits in memory at once and automatic differentiation."""
    logits = functional.linear(vectors, table, bias)
    if boosts is not None:
        logits = logits.index_put((boosts.points, boosts.candidates), boosts.amounts, accumulate=True)
    log_shares = torch.log_softmax(logits, dim=1)
    return -(log_shares[targets.points, targets.candidates] * targets.weights).sum() / len(vectors)


def generalised_binary_cross_entropy(
    vectors: Tensor,
    table: Tensor,
    bias: Tensor,
    targets: Targets,
    boosts: LogitBoosts | None,
    *,
    sampling: NegativeSampling,
) -> Tensor:
    """Mean over points of the binary cross-entropy against sampled negatives, corrected for their overconfidence.

    gBCE (Petrov & Macdonald 2023, arXiv 2308.07192, equation 10): a positive's probability is raised to the power
    β = α · (t · (1 - 1/α) + 1/α), where α is the sampled share of the items; `calibration` t is 0 for binary
    cross-entropy and 1 for probabilities like those of the softmax. The last `drawn` candidates are the negatives.
    """
    logits = functional.linear(vectors, table, bias)
    if boosts is not None:
        logits = logits.index_put((boosts.points, boosts.candidates), boosts.amounts, accumulate=True)
    rate = min(1.0, sampling.drawn / max(sampling.items - 1, 1))
    power = rate * (sampling.calibration * (1 - 1 / rate) + 1 / rate) if rate else 1.0
    positive = functional.softplus(-logits[targets.points, targets.candidates]) * targets.weights
    negative = functional.softplus(logits[:, len(table) - sampling.drawn :])
    return (power * positive.sum() + negative.sum()) / len(vectors)


class _Plan(NamedTuple):
    targets: Targets
    boosts: LogitBoosts
    mixed_precision: bool


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Cross-entropy whose gradients are computed in the forward pass; backward only scales them."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        vectors, table, bias, amounts, (targets, boosts, mixed_precision) = inputs
        number = torch.bfloat16 if mixed_precision else vectors.dtype
        low_vectors, low_table, low_bias = vectors.to(number), table.to(number), bias.to(number)
        size = max(MINIMUM_CHUNK, CHUNK_LOGITS[vectors.device.type] // max(len(table), 1))
        edges = [*range(0, len(vectors), size), len(vectors)]
        at = torch.tensor(edges, device=vectors.device)
        target_edges = torch.searchsorted(targets.points, at).tolist()
        boost_edges = torch.searchsorted(boosts.points, at).tolist()
        gradient, amount_gradient = torch.empty_like(vectors), torch.empty_like(amounts)
        table_gradient, bias_gradient = torch.zeros_like(table), torch.zeros_like(bias)
        loss = vectors.new_zeros(())
        for position, (start, end) in enumerate(pairwise(edges)):
            own_boosts = slice(boost_edges[position], boost_edges[position + 1])
            own_targets = slice(target_edges[position], target_edges[position + 1])
            boost_at = (boosts.points[own_boosts] - start, boosts.candidates[own_boosts])
            target_at = (targets.points[own_targets] - start, targets.candidates[own_targets])
            weights = targets.weights[own_targets]
            logits = torch.addmm(low_bias, low_vectors[start:end], low_table.T)
            if len(boost_at[0]):
                logits.index_put_(boost_at, amounts[own_boosts].to(number), accumulate=True)
            shares = torch.softmax(logits, dim=1)
            loss -= (shares[target_at].float().clamp(min=SMALLEST_SHARE).log() * weights).sum()
            shares.index_put_(target_at, -weights.to(number), accumulate=True)
            gradient[start:end] = shares @ low_table
            table_gradient += shares.T @ low_vectors[start:end]
            bias_gradient += shares.sum(0)
            amount_gradient[own_boosts] = shares[boost_at].to(amounts.dtype)
        ctx.save_for_backward(gradient, table_gradient, bias_gradient, amount_gradient)
        ctx.scale = 1 / max(len(vectors), 1)
        mean: Tensor = loss * ctx.scale
        return mean

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * (upstream[0] * ctx.scale) for saved in ctx.saved_tensors), None)
