"""What the encoder's vector also foretells: categories, a purchase, a return, a shift.

A head reads the vector at a look's newest event and the plain numbers of `moments`. Losses are divided by the
entropy of what one would say without looking, so that weights compare tasks, and added with fixed weights: tuned
sums lose nothing to gradient surgery (Kurin et al. 2022, arXiv 2201.04122; Xin et al. 2022, arXiv 2209.11379).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional

from shift_assets.models.encoder import CausalEncoder
from shift_assets.models.labels import CHURN_WEEKS, Labels
from shift_assets.models.moments import FEATURES, Flags
from shift_assets.models.sequences import Vocabulary

Task = Literal["category", "purchase", "churn", "shift"]
TASKS: tuple[Task, ...] = ("category", "purchase", "churn", "shift")
HIDDEN = 32
DROPOUT = 0.5
PRIOR_EVENTS = 5.0
"""Events that the share among all users counts as, beside a user's own."""
LEAST_SCALE = 0.1
"""Deviation that a plain number is thought to have at least: early in a log many are the same for everybody."""
FARTHEST = 3.0
"""Standard deviations from the mean beyond which a plain number says no more."""
LOG_VARIANCE_BOUND = 3.0
LEAST_ODDS = 1e-4
"""Prior probabilities are kept this far from 0 and 1: a head starts from their logit."""
SLOPE_DEVIATION, INTERCEPT_DEVIATION = 0.5, 1.0
"""How far a calibration is thought to lie from none, as standard deviations of a prior."""
Numbers = npt.NDArray[np.float64]


class Foretold(NamedTuple):
    """Logits of every look: [look, category], [look], [look, week] of a return, [look]."""

    category: Tensor
    purchase: Tensor
    churn: Tensor
    shift: Tensor


class TakenCategories(NamedTuple):
    """Categories (codes less 1) that users took before, one entry per look and category.

    How often, and how often with every time halved per RECENT_DAYS since.
    """

    looks: Tensor
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
        self.purchase, self.churn, self.shift = (_Small(width, out) for out in (1, CHURN_WEEKS, 1))
        self.dropout = nn.Dropout(DROPOUT)
        self.log_variances = nn.Parameter(torch.zeros(len(TASKS)))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.register_buffer("category_prior", torch.ones(categories))

    def forward(self, vectors: Tensor, features: Tensor, taken: TakenCategories, category_rows: Tensor) -> Foretold:
        """Logits from vectors [look, dimension] and numbers [look, FEATURES].

        `category_rows` [category, dimension] are the mean rows of the categories' items.
        """
        plain = ((features - self.mean) / self.scale).clamp(-FARTHEST, FARTHEST)
        seen = torch.cat([self.dropout(vectors), plain], dim=1)
        in_all, in_recent, in_fit = self.category
        category = self.category_prior.log() + in_fit * functional.linear(vectors, category_rows)
        weight = PRIOR_EVENTS * self.category_prior[taken.categories]
        raised = in_all * torch.log1p(taken.times / weight) + in_recent * torch.log1p(taken.recent / weight)
        category = category.index_put((taken.looks, taken.categories), raised, accumulate=True)
        return Foretold(category, self.purchase(seen)[:, 0], self.churn(seen), self.shift(seen)[:, 0])

    def start_from(self, priors: Priors, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> None:
        """Say at first what one would say without looking; read features less `mean`, in units of `scale`."""
        with torch.no_grad():
            self.mean.copy_(torch.from_numpy(mean))
            self.scale.copy_(torch.from_numpy(np.maximum(scale, LEAST_SCALE)))
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


class _Small(nn.Module):
    """One hidden layer; says nothing but its bias at first."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, out)
        nn.init.zeros_(self.last.weight)

    def forward(self, seen: Tensor) -> Tensor:
        said: Tensor = self.last(functional.gelu(self.first(seen)))
        return said


@dataclass(frozen=True)
class Priors:
    """What one would say without looking at the user, and the entropy of saying it, by task, in nats.

    `category[category]`, `churn[week]`. A task whose label never varies has no entropy and cannot be learned.
    """

    category: Numbers
    purchase: float
    churn: Numbers
    entropies: dict[Task, float]

    @classmethod
    def of(cls, labels: Labels, categories: int, *, spliced: bool) -> Priors:
        """From the labels that teach; `spliced`: there are splices too."""
        mass = np.bincount(labels.categories - 1, weights=labels.shares, minlength=categories) + LEAST_ODDS
        shares: Numbers = np.divide(mass, mass.sum(), dtype=np.float64)
        known = labels.purchase[labels.purchase_known]
        purchase = float(known.mean()) if len(known) else 0.0
        at_risk = labels.at_risk.sum(axis=0)
        churn = np.divide(labels.returned.sum(axis=0), at_risk, out=np.zeros(CHURN_WEEKS), where=at_risk > 0)
        entropies: dict[Task, float] = {
            "category": float(-(shares * np.log(shares)).sum()) if len(labels.looks) else 0.0,
            "purchase": float(_entropy(np.asarray(purchase))),
            "churn": float((_entropy(churn) * at_risk).sum() / max(at_risk.sum(), 1)),
            "shift": math.log(2) if spliced else 0.0,
        }
        return cls(shares, purchase, churn, entropies)


def _entropy(p: Numbers) -> Numbers:
    inside = np.clip(p, LEAST_ODDS, 1 - LEAST_ODDS)
    return np.where((p > 0) & (p < 1), -inside * np.log(inside) - (1 - inside) * np.log(1 - inside), 0)


def _logit(p: Numbers) -> Numbers:
    inside = np.clip(p, LEAST_ODDS, 1 - LEAST_ODDS)
    return np.asarray(np.log(inside / (1 - inside)))


def label_losses(foretold: Foretold, labels: Labels) -> dict[Task, Tensor]:
    """Mean loss of the looks' labels by task, in nats; without the tasks of which nothing was seen.

    Cross-entropy over categories, binary for a purchase, and for a return the mean over the weeks at risk: the
    likelihood of a discrete-time hazard.
    """
    losses: dict[Task, Tensor] = {}
    device = foretold.purchase.device
    if len(labels.looks):
        log_shares = torch.log_softmax(foretold.category, dim=1)
        chosen = log_shares[_indices(labels.looks, device), _indices(labels.categories - 1, device)]
        told = len(np.unique(labels.looks))
        losses["category"] = -(chosen * torch.from_numpy(labels.shares).to(device)).sum() / told
    for task, logits, label, counts in (
        ("purchase", foretold.purchase, labels.purchase, labels.purchase_known),
        ("churn", foretold.churn, labels.returned, labels.at_risk),
    ):
        if counts.any():
            losses[task] = binary_loss(logits, label, counts)  # type: ignore[index]
    return losses


def shift_loss(foretold: Foretold, shifted: Flags) -> dict[Task, Tensor]:
    """Mean loss of telling looks after a splice from others, both kinds of equal weight; nothing without both."""
    if shifted.all() or not shifted.any():
        return {}
    kinds = [binary_loss(foretold.shift, shifted, counts) for counts in (shifted, ~shifted)]
    return {"shift": (kinds[0] + kinds[1]) / 2}


def binary_loss(logits: Tensor, label: Flags, counts: Flags) -> Tensor:
    """Mean cross-entropy where `counts`, nats; all three of one shape."""
    kept = torch.from_numpy(counts).to(logits.device)
    target = torch.from_numpy(label.astype(np.float32)).to(logits.device)
    return functional.binary_cross_entropy_with_logits(logits[kept], target[kept])


def combined(
    losses: Mapping[Task, Tensor], priors: Priors, weights: Mapping[Task, float], log_variances: Tensor | None
) -> Tensor:
    """The weighted sum of losses, each over its entropy without looking.

    With `log_variances` each is also weighed by its own uncertainty, which training finds (Kendall et al. 2018,
    arXiv 1705.07115), within LOG_VARIANCE_BOUND.
    """
    total = torch.zeros(())
    for place, task in enumerate(TASKS):
        entropy, weight = priors.entropies[task], weights.get(task, 0.0)
        if task not in losses or not entropy or not weight:
            continue
        loss = losses[task] / entropy
        if log_variances is not None:
            variance = log_variances[place].clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)
            loss = torch.exp(-variance) * loss + variance / 2
        total = total.to(loss.device) + weight * loss
    return total


class Calibration(NamedTuple):
    """A line on the log-odds (Platt 1999)."""

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def of(cls, log_odds: Numbers, happened: Flags) -> Calibration:
        """The likeliest line, under a prior that holds it near none where there are few cases."""

        def cost(line: Numbers) -> float:
            calibrated = line[0] * log_odds + line[1]
            likelihood = np.logaddexp(0, np.where(happened, -calibrated, calibrated)).sum()
            prior = ((line[0] - 1) / SLOPE_DEVIATION) ** 2 + (line[1] / INTERCEPT_DEVIATION) ** 2
            return float(likelihood + prior / 2)

        found = minimize(cost, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, None), (None, None)])
        return cls(float(found.x[0]), float(found.x[1]))

    def probability(self, log_odds: Numbers) -> Numbers:
        """Calibrated probability, the shape of `log_odds`."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * log_odds + self.intercept, -500, 500))))


@dataclass(frozen=True)
class Foretelling:
    """Trained heads.

    `calibrations` hold the tasks that were learned; categories have none. `horizon_days` is how far categories and a
    purchase were looked for; so many of the weeks of a return, `churn_weeks`, lay within the log.
    """

    heads: Heads
    calibrations: dict[Task, Calibration]
    horizon_days: int
    churn_weeks: int


def _indices(values: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device)
