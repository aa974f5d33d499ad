"""Losses of the heads by task, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.models.data.labels import Labels
from shift_assets.models.network.heads import TASKS, Priors, Task, TaskLogits

LOG_VARIANCE_BOUND = 3.0


def label_losses(predicted: TaskLogits, labels: Labels) -> dict[Task, Tensor]:
    """Mean loss by task, in nats, without tasks that have no label here.

    Cross-entropy over categories, binary cross-entropy of a purchase, and for a return the mean over the weeks at
    risk: the likelihood of a discrete-time hazard.
    """
    losses: dict[Task, Tensor] = {}
    device = predicted.purchase.device
    if len(labels.prediction_points):
        log_shares = torch.log_softmax(predicted.category, dim=1)
        chosen = log_shares[_indices(labels.prediction_points, device), _indices(labels.categories - 1, device)]
        labelled = len(np.unique(labels.prediction_points))
        losses["category"] = -(chosen * torch.from_numpy(labels.shares).to(device)).sum() / labelled
    for task, logits, label, counts in (
        ("purchase", predicted.purchase, labels.purchase, labels.purchase_known),
        ("churn", predicted.churn, labels.returned, labels.at_risk),
    ):
        if counts.any():
            losses[task] = binary_loss(logits, label, counts)  # type: ignore[index]
    return losses


def shift_loss(predicted: TaskLogits, shifted: BoolArray) -> dict[Task, Tensor]:
    """Mean loss of separating points after a splice from others, both classes of equal weight; empty without both."""
    if shifted.all() or not shifted.any():
        return {}
    kinds = [binary_loss(predicted.shift, shifted, counts) for counts in (shifted, ~shifted)]
    return {"shift": (kinds[0] + kinds[1]) / 2}


def binary_loss(logits: Tensor, label: BoolArray, counts: BoolArray) -> Tensor:
    """Mean binary cross-entropy where `counts`, in nats; all three have the same shape."""
    mask = torch.from_numpy(counts).to(logits.device)
    target = torch.from_numpy(label.astype(np.float32)).to(logits.device)
    return functional.binary_cross_entropy_with_logits(logits[mask], target[mask])


def weighted_loss(
    losses: Mapping[Task, Tensor], priors: Priors, weights: Mapping[Task, float], log_variances: Tensor | None
) -> Tensor:
    """Weighted sum of losses, each divided by the entropy of its prior.

    With `log_variances` [task] each is also weighted by its trained uncertainty (Kendall et al. 2018, arXiv
    1705.07115), within LOG_VARIANCE_BOUND.
    """
    total = torch.zeros(())
    for column, task in enumerate(TASKS):
        entropy, weight = priors.entropies[task], weights.get(task, 0.0)
        if task not in losses or not entropy or not weight:
            continue
        loss = losses[task] / entropy
        if log_variances is not None:
            variance = log_variances[column].clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)
            loss = torch.exp(-variance) * loss + variance / 2
        total = total.to(loss.device) + weight * loss
    return total


def _indices(values: Int64Array, device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device)
