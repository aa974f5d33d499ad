"""Heads of the encoder that predict categories, a purchase, a return and a shift.

A head reads the encoder's vector at the newest event of a prediction point, and the point's features. Losses are
divided by the entropy of the prior, so that weights are comparable between tasks, and summed with fixed weights: tuned
sums are as good as gradient surgery (Kurin et al. 2022, arXiv 2201.04122; Xin et al. 2022, arXiv 2209.11379).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shift_assets.arrays import Float32Array, Float64Array
from shift_assets.models.data.labels import CHURN_WEEKS, Labels
from shift_assets.models.data.prediction_points import FEATURES
from shift_assets.models.data.sequences import Vocabulary
from shift_assets.models.network.calibration import Calibration
from shift_assets.models.network.encoder import CausalEncoder

Task = Literal["category", "purchase", "churn", "shift"]
TASKS: tuple[Task, ...] = ("category", "purchase", "churn", "shift")
HIDDEN = 32
DROPOUT = 0.5
PRIOR_EVENTS = 5.0
"""Weight of the share among all users, in events of a user."""
MINIMUM_SCALE = 0.1
"""Smallest standard deviation of a feature: early in a log many features are the same for all users."""
MAXIMUM_DEVIATION = 3.0
"""Standard deviations from the mean at which a feature is clipped."""
MINIMUM_PROBABILITY = 1e-4
"""Smallest distance of prior probabilities from 0 and 1: a head starts from their logit."""


class TaskLogits(NamedTuple):
    """Logits by task: [point, category], [point], of a return [point, week], [point]."""

    category: Tensor
    purchase: Tensor
    churn: Tensor
    shift: Tensor


class PastCategories(NamedTuple):
    """Categories (codes minus 1) of users' histories, one entry per prediction point and category.

    `times[entry]` counts the events, `recent[entry]` the events with a weight that halves every RECENT_DAYS.
    """

    prediction_points: Tensor
    categories: Tensor
    times: Tensor
    recent: Tensor


class Heads(nn.Module):
    """Small networks over the encoder's vector and the features of a prediction point.

    A category's logit is that of its share among all users, plus a term for the user's own events, as a Dirichlet
    prior with that share would have, plus the product of the vector with the mean row of the category's items. These
    three have one trained weight each: the encoder was trained on the days after the training points, and larger heads
    overfitted to its vectors.
    """

    mean: Tensor
    scale: Tensor
    category_prior: Tensor
    log_variances: Tensor

    def __init__(self, dimensions: int, categories: int) -> None:
        super().__init__()
        self.dimensions, self.categories = dimensions, categories
        width = dimensions + FEATURES
        self.category = nn.Parameter(torch.zeros(3))
        self.purchase, self.churn, self.shift = (_HeadNetwork(width, out) for out in (1, CHURN_WEEKS, 1))
        self.dropout = nn.Dropout(DROPOUT)
        self.log_variances = nn.Parameter(torch.zeros(len(TASKS)))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.register_buffer("category_prior", torch.ones(categories))

    def forward(self, vectors: Tensor, features: Tensor, taken: PastCategories, category_rows: Tensor) -> TaskLogits:
        """Compute the logits of all tasks.

        Args:
            vectors: Encoder vectors [point, dimension].
            features: Features [point, FEATURES].
            taken: Categories of the users' histories.
            category_rows: Mean rows [category, dimension] of the categories' items.
        """
        standardised = ((features - self.mean) / self.scale).clamp(-MAXIMUM_DEVIATION, MAXIMUM_DEVIATION)
        inputs = torch.cat([self.dropout(vectors), standardised], dim=1)
        in_all, in_recent, in_fit = self.category
        category = self.category_prior.log() + in_fit * functional.linear(vectors, category_rows)
        weight = PRIOR_EVENTS * self.category_prior[taken.categories]
        boost = in_all * torch.log1p(taken.times / weight) + in_recent * torch.log1p(taken.recent / weight)
        category = category.index_put((taken.prediction_points, taken.categories), boost, accumulate=True)
        return TaskLogits(category, self.purchase(inputs)[:, 0], self.churn(inputs), self.shift(inputs)[:, 0])

    def initialise(self, priors: Priors, mean: Float32Array, scale: Float32Array) -> None:
        """Initialise the heads to predict the priors, and to standardise features by `mean` and `scale` [feature]."""
        with torch.no_grad():
            self.mean.copy_(torch.from_numpy(mean))
            self.scale.copy_(torch.from_numpy(np.maximum(scale, MINIMUM_SCALE)))
            self.category_prior.copy_(torch.from_numpy(priors.category))
            for head, prior in ((self.purchase, priors.purchase), (self.churn, priors.churn), (self.shift, 0.5)):
                head.last.bias.copy_(torch.from_numpy(np.atleast_1d(_logit(np.asarray(prior)))))


def category_rows(network: CausalEncoder, vocabulary: Vocabulary) -> Tensor:
    """Mean row [category, dimension] of the items of each category; zeros for a category without items."""
    rows = network.item_rows()[1:]
    categories = torch.from_numpy(vocabulary.item_categories[1:]).to(rows.device)
    sums = torch.zeros((len(vocabulary.categories) + 1, rows.shape[1]), device=rows.device)
    counts = torch.bincount(categories, minlength=len(sums)).clamp(min=1)
    return (sums.index_add(0, categories, rows) / counts[:, None])[1:]


class _HeadNetwork(nn.Module):
    """A network with one hidden layer, whose initial output is its bias."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, out)
        nn.init.zeros_(self.last.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.last(functional.gelu(self.first(inputs)))
        return output


@dataclass(frozen=True)
class Priors:
    """Predictions without any knowledge of the user, and their entropies by task, in nats.

    `category[category]`, `churn[week]`. A task whose label never varies has entropy 0 and is not trained.
    """

    category: Float64Array
    purchase: float
    churn: Float64Array
    entropies: dict[Task, float]

    @classmethod
    def of(cls, labels: Labels, categories: int, *, spliced: bool) -> Priors:
        """Priors of training labels; `spliced` says whether there are spliced histories to train the shift head on."""
        mass = np.bincount(labels.categories - 1, weights=labels.shares, minlength=categories) + MINIMUM_PROBABILITY
        shares: Float64Array = np.divide(mass, mass.sum(), dtype=np.float64)
        known = labels.purchase[labels.purchase_known]
        purchase = float(known.mean()) if len(known) else 0.0
        at_risk = labels.at_risk.sum(axis=0)
        churn = np.divide(labels.returned.sum(axis=0), at_risk, out=np.zeros(CHURN_WEEKS), where=at_risk > 0)
        entropies: dict[Task, float] = {
            "category": float(-(shares * np.log(shares)).sum()) if len(labels.prediction_points) else 0.0,
            "purchase": float(_entropy(np.asarray(purchase))),
            "churn": float((_entropy(churn) * at_risk).sum() / max(at_risk.sum(), 1)),
            "shift": math.log(2) if spliced else 0.0,
        }
        return cls(shares, purchase, churn, entropies)


def _entropy(p: Float64Array) -> Float64Array:
    clipped = np.clip(p, MINIMUM_PROBABILITY, 1 - MINIMUM_PROBABILITY)
    return np.where((p > 0) & (p < 1), -clipped * np.log(clipped) - (1 - clipped) * np.log(1 - clipped), 0)


def _logit(p: Float64Array) -> Float64Array:
    clipped = np.clip(p, MINIMUM_PROBABILITY, 1 - MINIMUM_PROBABILITY)
    return np.asarray(np.log(clipped / (1 - clipped)))


@dataclass(frozen=True)
class TrainedHeads:
    """Trained and calibrated heads.

    Attributes:
        heads: The networks.
        calibrations: Calibration by task that could be trained; categories have none.
        horizon_days: Days after a prediction point that categories and a purchase are predicted for.
        churn_weeks: Weeks of a return that the training log covered.
    """

    heads: Heads
    calibrations: dict[Task, Calibration]
    horizon_days: int
    churn_weeks: int
