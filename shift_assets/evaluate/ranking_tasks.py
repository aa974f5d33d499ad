"""Ranking tasks: histories and the items that their users took afterwards, and metrics of any scorer on them.

All allowed items are ranked, never a sample (Krichene & Rendle 2020: sampled metrics do not preserve the order of
models).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.models.metrics import ndcg_at_k, recall_at_k, top_k_columns
from shift_assets.outcomes.estimates import Estimate, interval, ratio_estimate, resamples
from shift_assets.recommend.candidates.base import Scorer
from shift_assets.recommend.candidates.popularity import popularity
from shift_assets.recommend.exclusions import pairs_in_block
from shift_assets.recommend.window import UserItems, Window, blocks_of, no_pairs

SLATE_LENGTH, NDCG_K = 20, 10
"""k of recall, coverage and novelty, and k of hit rate and NDCG."""
POPULARITY_POWER = 0.5
"""Exponent of popularity in the exposure propensity of the debiased NDCG (Yang et al., RecSys 2018)."""


@dataclass(frozen=True)
class RankingTask:
    """Histories to rank items for, and labels: user `owners[n]` took item `items[n]` afterwards.

    Attributes:
        window: The histories.
        allowed: Item indices that are ranked.
        owners: User [label]; pairs of user and item are distinct.
        items: Item index [label], -1 for an item that the window does not hold.
        log: Events known before the labels, for the popularity of items.
        hidden: Pairs of user and item that are not ranked.
    """

    window: Window
    allowed: Int64Array
    owners: Int64[Int64Array, " label"]
    items: Int64[Int64Array, " label"]
    log: Window
    hidden: UserItems = field(default_factory=no_pairs)

    @cached_property
    def users_per_item(self) -> Int64Array:
        """Number of users [item] who took an item before."""
        return popularity(self.log, int(self.log.ages.max(initial=0)) + 1).astype(np.int64)

    @cached_property
    def users(self) -> Int64Array:
        """Evaluated users: those with a reachable label."""
        return np.unique(self.owners[self.reachable])

    @cached_property
    def reachable(self) -> BoolArray:
        """Whether [label] the item is ranked for the user."""
        is_allowed = np.zeros(self.window.item_count + 1, dtype=bool)
        is_allowed[self.allowed] = True
        keys = self.owners * self.window.item_count + self.items
        return is_allowed[self.items] & ~np.isin(keys, self.hidden[0] * self.window.item_count + self.hidden[1])

    @property
    def unreachable_share(self) -> float:
        """Share of the labels whose item is not ranked: new items, items that left the catalogue, hidden pairs."""
        return float(1 - self.reachable.mean()) if len(self.reachable) else 0.0


class RankingMetrics(NamedTuple):
    """Metrics of one scorer on one task; estimates are means over users with 95 % intervals."""

    users: int
    hr_at_10: Estimate
    ndcg_at_10: Estimate
    recall_at_20: Estimate
    ndcg_at_20: Estimate
    debiased_ndcg_at_10: Estimate
    coverage_at_20: float
    novelty_at_20: Estimate


def top_k_items(scorer: Scorer, task: RankingTask, users: Int64Array, k: int = SLATE_LENGTH) -> Int64Array:
    """The best `k` allowed items [user, place] of every user, -1 where fewer score above 0.

    Of equal scores the lower item index comes first.
    """
    slates = np.full((len(users), k), -1, dtype=np.int64)
    done = 0
    for block in blocks_of(users, task.window.item_count):
        scores = scorer(block)[:, task.allowed]
        scores[pairs_in_block(task.hidden, block, task.allowed, task.window)] = 0
        best, values = top_k_columns(scores, k)
        slates[done : done + len(block), : best.shape[1]] = np.where(values > 0, task.allowed[best], -1)
        done += len(block)
    return slates


def hits_at_k(slates: Int64Array, task: RankingTask, users: Int64Array) -> tuple[BoolArray, Int64Array]:
    """Whether [user, rank] the item is a label of the user, and the number [user] of reachable labels.

    Args:
        slates: Item indices [user, rank], -1 where a slate is shorter.
        task: The task.
        users: The users of the slates.
    """
    width = task.window.item_count
    keys = task.owners[task.reachable] * width + task.items[task.reachable]
    hits = np.isin(users[:, None] * width + slates, keys) & (slates >= 0)
    counts = np.bincount(task.owners[task.reachable], minlength=len(task.window.sequences.users))
    return hits, counts[users]


def quality(slates: Int64Array, task: RankingTask, *, samples: int, seed: int) -> RankingMetrics:
    """Compute the metrics of the slates of a task.

    Args:
        slates: Item indices [user, rank] of `task.users`, -1 where a slate is shorter.
        task: The task.
        samples: Bootstrap samples of the intervals.
        seed: Seed of the bootstrap.
    """
    users = task.users
    hits, relevant = hits_at_k(slates, task, users)
    draws = resamples(len(users), samples, seed)

    def mean(values: Float64Array) -> Estimate:
        found = ratio_estimate(values, np.ones(len(values)), draws)
        return found if found is not None else interval(float("nan"), np.array([np.nan]))

    information = -np.log2(np.maximum(task.users_per_item, 1) / max(len(np.unique(task.window.owners)), 1))
    shown = slates >= 0
    novelty = np.where(shown, np.maximum(information, 0)[slates], 0).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    return RankingMetrics(
        users=len(users),
        hr_at_10=mean(np.asarray(hits[:, :NDCG_K].any(axis=1), dtype=np.float64)),
        ndcg_at_10=mean(ndcg_at_k(hits[:, :NDCG_K], relevant)),
        recall_at_20=mean(recall_at_k(hits, relevant)),
        ndcg_at_20=mean(ndcg_at_k(hits, relevant)),
        debiased_ndcg_at_10=_debiased_ndcg(slates[:, :NDCG_K], hits[:, :NDCG_K], task, draws),
        coverage_at_20=len(np.unique(slates[shown])) / max(len(task.allowed), 1),
        novelty_at_20=mean(novelty),
    )


def _debiased_ndcg(slates: Int64Array, hits: BoolArray, task: RankingTask, draws: Int64Array) -> Estimate:
    """NDCG with gains 1 / popularity^0.5, divided by that of the ideal ranking of the same labels, over all users.

    Popular items are more often exposed to users; weighing a label by its inverse exposure propensity removes that bias
    (self-normalised inverse propensity scoring, Yang et al., RecSys 2018).
    """
    weight = 1 / np.maximum(task.users_per_item, 1).astype(np.float64) ** POPULARITY_POWER
    discounts = 1 / np.log2(np.arange(2, slates.shape[1] + 2))
    gained = (np.where(hits, weight[slates], 0) * discounts).sum(axis=1)
    owners, items = task.owners[task.reachable], task.items[task.reachable]
    order = np.lexsort((-weight[items], owners))
    owners, gains = owners[order], weight[items[order]]
    starts = np.searchsorted(owners, task.users)
    position = np.arange(len(owners)) - starts[np.searchsorted(task.users, owners)]
    inside = position < slates.shape[1]
    possible = np.bincount(
        np.searchsorted(task.users, owners[inside]),
        gains[inside] * discounts[position[inside]],
        minlength=len(task.users),
    )
    found = ratio_estimate(gained, np.asarray(possible, dtype=np.float64), draws)
    return found if found is not None else interval(float("nan"), np.array([np.nan]))
