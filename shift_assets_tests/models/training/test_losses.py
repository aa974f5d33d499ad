"""The chunked loss equals the loss over all logits, in values and gradients."""

from __future__ import annotations

from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.models.training import losses
from shift_assets.models.training.losses import (
    LogitBoosts,
    Negatives,
    NegativeSampling,
    Targets,
    cross_entropy,
    generalised_binary_cross_entropy,
    plain_cross_entropy,
)
from shift_assets.models.training.parameters import ModelParameters


class Weights(NamedTuple):
    """What the loss is differentiated by."""

    hidden: torch.Tensor
    items: torch.Tensor
    bias: torch.Tensor
    boosts: torch.Tensor


def problem(seed: int, points: int, items: int) -> tuple[Weights, Targets, LogitBoosts]:
    """Weights that need gradients, two targets per point, and a few raised candidates."""
    random = torch.Generator().manual_seed(seed)
    weights = Weights(
        *(
            torch.randn(*shape, generator=random).requires_grad_()
            for shape in ((points, 6), (items, 6), (items,), (2 * points,))
        )
    )
    owners = torch.arange(points).repeat_interleave(2)
    first = torch.randint(0, items, (points,), generator=random)
    pair = torch.stack([first, (first + 1) % items], dim=1).ravel()
    shares = torch.tensor([0.75, 0.25]).repeat(points)
    boosts = torch.randint(0, items, (2 * points,), generator=random)
    return weights, Targets(owners, pair, shares), LogitBoosts(owners, boosts, weights.boosts)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 99), points=st.integers(1, 200), items=st.integers(2, 30), chunk=st.integers(1, 90))
def test_chunks_change_neither_value_nor_gradients(seed: int, points: int, items: int, chunk: int) -> None:
    """For any number of chunks."""
    weights, targets, boosts = problem(seed, points, items)
    with mock.patch.multiple(losses, MINIMUM_CHUNK=chunk, CHUNK_LOGITS={"cpu": 1}):
        bounded = cross_entropy(weights.hidden, weights.items, weights.bias, targets, boosts, mixed_precision=False)
        ours = torch.autograd.grad(bounded, weights)
    plain = plain_cross_entropy(weights.hidden, weights.items, weights.bias, targets, boosts)
    theirs = torch.autograd.grad(plain, weights)
    torch.testing.assert_close(bounded, plain)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_bfloat16_gradients_come_close() -> None:
    """bfloat16 keeps about three digits of the gradient."""
    weights, targets, boosts = problem(3, 150, 20)
    ours = torch.autograd.grad(
        cross_entropy(weights.hidden, weights.items, weights.bias, targets, boosts, mixed_precision=True), weights
    )
    theirs = torch.autograd.grad(
        plain_cross_entropy(weights.hidden, weights.items, weights.bias, targets, boosts), weights
    )
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_a_certain_answer_has_a_finite_loss(mixed_precision: bool) -> None:
    """Logits so far apart that a probability is zero as a number leave loss and gradient finite."""
    vectors = torch.tensor([[300.0]], requires_grad=True)
    table = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    targets = Targets(torch.tensor([0]), torch.tensor([1]), torch.tensor([1.0]))
    loss = cross_entropy(vectors, table, torch.zeros(2), targets, None, mixed_precision=mixed_precision)
    loss.backward()
    assert torch.isfinite(loss)
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    assert vectors.grad.abs().sum() > 0


@pytest.mark.parametrize("sampling", ["uniform", "mixed"])
def test_sampled_sums_estimate_the_sum_over_all_items(sampling: str) -> None:
    """Own items counted as they are, drawn ones by their correction: on average the whole softmax's denominator."""
    random = np.random.default_rng(0)
    items, own = 60, np.array([3, 7])
    chosen = ModelParameters.model_validate({"negatives": 20, "negative_sampling": sampling})
    negatives = Negatives(random.integers(0, 50, items + 1), chosen)
    logits = random.normal(size=items + 1)
    draws = [negatives.draw(own, random) for _ in range(4000)]
    sums = [np.exp(logits[own]).sum() + np.exp(logits[drawn] + correction).sum() for drawn, correction in draws]
    standard_error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - np.exp(logits[1:]).sum()) < 4 * standard_error
    assert all(len(np.intersect1d(drawn, own)) == 0 for drawn, _ in draws)


def test_the_binary_loss_is_plain_without_calibration() -> None:
    """t = 0: every positive and every negative counts once; t > 0 softens the positives."""
    vectors, table = torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    targets = Targets(torch.tensor([0]), torch.tensor([0]), torch.tensor([1.0]))
    logits = vectors @ table.T
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[0], torch.tensor([1.0, 0, 0]), reduction="sum"
    )
    losses_of = [
        generalised_binary_cross_entropy(
            vectors, table, torch.zeros(3), targets, None, sampling=NegativeSampling(2, 100, calibration)
        )
        for calibration in (0.0, 0.5)
    ]
    torch.testing.assert_close(losses_of[0], expected)
    assert losses_of[1] < losses_of[0]
