"""What the encoder's vector also foretells: categories, a purchase, a return, a shift.

A head reads the vector at a look's newest event and the plain numbers of `moments`. Losses are divided by the
entropy of what one would say without looking, so that weights compare tasks, and added with fixed weights: tuned
sums lose nothing to gradient surgery (Kurin et al. 2022, arXiv 2201.04122; Xin et al. 2022, arXiv 2209.11379).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from shift_assets.arrays import Float64Array
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
"""Events that the share among all users counts as, beside a user's own."""


MINIMUM_SCALE = 0.1
"""Deviation that a plain number is thought to have at least: early in a log many are the same for everybody."""


MAXIMUM_DEVIATION = 3.0
"""Standard deviations from the mean beyond which a plain number says no more."""


MINIMUM_PROBABILITY = 1e-4
"""Prior probabilities are kept this far from 0 and 1: a head starts from their logit."""


class TaskLogits(NamedTuple):
    """Logits of every look: [look, category], [look], [look, week] of a return, [look]."""

    category: Tensor
    purchase: Tensor
    churn: Tensor
    shift: Tensor


class PastCategories(NamedTuple):
    """Categories (codes less 1) that users took before, one entry per look and category.

    How often, and how often with every time halved per RECENT_DAYS since.
    """

    prediction_points: Tensor
    categories: Tensor
    times: Tensor
    recent: Tensor


class Heads(nn.Module):
    """Small networks over the encoder's vector and the plain numbers of a look.

    A category's logit is that of its share among all users, raised by what the user took before, as a Dirichlet prior
    of that share would be, and by how well the vector fits the mean row of the category's items. Three weights are
    learned for that: the encoder's vectors know the days after the looks that it learned from, and more weights
    trusted them too far.
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
        """Logits from vectors [look, dimension] and numbers [look, FEATURES].

        `category_rows` [category, dimension] are the mean rows of the categories' items.
        """
        standardised = ((features - self.mean) / self.scale).clamp(-MAXIMUM_DEVIATION, MAXIMUM_DEVIATION)
        inputs = torch.cat([self.dropout(vectors), standardised], dim=1)
        in_all, in_recent, in_fit = self.category
        category = self.category_prior.log() + in_fit * functional.linear(vectors, category_rows)
        weight = PRIOR_EVENTS * self.category_prior[taken.categories]
        boost = in_all * torch.log1p(taken.times / weight) + in_recent * torch.log1p(taken.recent / weight)
        category = category.index_put((taken.prediction_points, taken.categories), boost, accumulate=True)
        return TaskLogits(category, self.purchase(inputs)[:, 0], self.churn(inputs), self.shift(inputs)[:, 0])

    def initialise(self, priors: Priors, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> None:
        """Say at first what one would say without looking; read features less `mean`, in units of `scale`."""
        with torch.no_grad():
            self.mean.copy_(torch.from_numpy(mean))
            self.scale.copy_(torch.from_numpy(np.maximum(scale, MINIMUM_SCALE)))
            self.category_prior.copy_(torch.from_numpy(priors.category))
            for head, prior in ((self.purchase, priors.purchase), (self.churn, priors.churn), (self.shift, 0.5)):
                head.last.bias.copy_(torch.from_numpy(np.atleast_1d(_logit(np.asarray(prior)))))


def category_rows(network: CausalEncoder, vocabulary: Vocabulary) -> Tensor:
    """Mean row [category, dimension] of the item table over the items of each category; zeros where it has none."""
    rows = network.item_rows()[1:]
    categories = torch.from_numpy(vocabulary.item_categories[1:]).to(rows.device)
    sums = torch.zeros((len(vocabulary.categories) + 1, rows.shape[1]), device=rows.device)
    counts = torch.bincount(categories, minlength=len(sums)).clamp(min=1)
    return (sums.index_add(0, categories, rows) / counts[:, None])[1:]


class _HeadNetwork(nn.Module):
    """One hidden layer; says nothing but its bias at first."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, out)
        nn.init.zeros_(self.last.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.last(functional.gelu(self.first(inputs)))
        return output


@dataclass(frozen=True)
class Priors:
    """What one would say without looking at the user, and the entropy of saying it, by task, in nats.

    `category[category]`, `churn[week]`. A task whose label never varies has no entropy and cannot be learned.
    """

    category: Float64Array
    purchase: float
    churn: Float64Array
    entropies: dict[Task, float]

    @classmethod
    def of(cls, labels: Labels, categories: int, *, spliced: bool) -> Priors:
        """From the labels that teach; `spliced`: there are splices too."""
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
    """Trained heads.

    `calibrations` hold the tasks that were learned; categories have none. `horizon_days` is how far categories and a
    purchase were looked for; so many of the weeks of a return, `churn_weeks`, lay within the log.
    """

    heads: Heads
    calibrations: dict[Task, Calibration]
    horizon_days: int
    churn_weeks: int
