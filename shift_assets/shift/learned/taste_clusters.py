"""Taste clusters of a segment: what a user whose own past is short probably likes, borrowed from similar users.

A mixture of multinomials over users' category mixes, fitted by expectation-maximisation (Nigam, McCallum, Thrun and
Mitchell, "Text Classification from Labeled and Unlabeled Documents using EM", Machine Learning 39 (2000), without
labels). A user's prior is the mean of the clusters' mixes, weighted by how well each explains the user's own days.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from shift_assets.arrays import Float64Array

MAXIMUM_CLUSTERS = 24
USERS_PER_CLUSTER = 8
"""Users below which a cluster is not worth its parameters."""
MAXIMUM_DAYS = 16.0
"""A user counts as at most so many days, so that the busiest few do not become clusters of their own."""
MINIMUM_DAYS = 3.0
"""Users with fewer days shape no cluster."""
PRIOR_DAYS = 8.0
"""Days of the segment's mix behind every cluster."""
ITERATIONS = 30
TEMPERATURE = 0.5
"""How far a day counts when a user's clusters are inferred: categories of one user repeat, so days are not independent.
One half was better than 1 on three of four real logs, and no worse on the fourth."""


class TasteClusters(NamedTuple):
    """A fitted mixture."""

    weight: Float64Array  # [cluster], sums to 1
    share: Float64Array  # [cluster, category], each row sums to 1, nowhere 0

    @property
    def mix(self) -> Float64[Float64Array, " category"]:
        """Mix that a user of whom nothing is known is expected to have: every user counts alike, however busy."""
        return np.asarray(self.weight @ self.share)

    def expected(self, days: Float64[Float64Array, "user category"]) -> Float64[Float64Array, "user category"]:
        """Return the mix that each user is expected to have, given the sum of the shares of the user's days."""
        return np.asarray(self._responsibility(TEMPERATURE * days) @ self.share)

    def _responsibility(self, days: Float64Array) -> Float64Array:
        """Probability of each cluster, [user, cluster]."""
        log_odds = days @ np.log(self.share).T + np.log(self.weight)
        odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def fit_taste_clusters(
    days: Float64[Float64Array, "user category"], mix: Float64[Float64Array, " category"], seed: int
) -> TasteClusters:
    """Fit taste clusters; the same days and seed give the same clusters.

    Args:
        days: Sum of the shares of each user's days.
        mix: The segment's mix, nowhere 0.
        seed: Seed of the users from which the clusters start.

    Returns:
        At most `MAXIMUM_CLUSTERS` clusters; with too few users a single one, the segment's mix.
    """
    from threadpoolctl import threadpool_limits

    n_days = days.sum(axis=1, keepdims=True)
    known = n_days[:, 0] >= MINIMUM_DAYS
    days, n_days = days[known], n_days[known]
    n_clusters = min(MAXIMUM_CLUSTERS, len(days) // USERS_PER_CLUSTER)
    if n_clusters < 2:
        return TasteClusters(np.ones(1), mix[None, :] / mix.sum())
    days = days / n_days * np.minimum(n_days, MAXIMUM_DAYS)
    first = np.random.default_rng([seed, 5]).choice(len(days), n_clusters, replace=False)
    clusters = TasteClusters(np.full(n_clusters, 1.0 / n_clusters), _shares(days[first] + PRIOR_DAYS / 4 * mix))
    with threadpool_limits(1):  # sums over a changing number of threads differ in their last bits
        for _ in range(ITERATIONS):
            responsibility = clusters._responsibility(days)
            weight = (responsibility.sum(axis=0) + 1.0) / (len(days) + n_clusters)
            clusters = TasteClusters(weight, _shares(responsibility.T @ days + PRIOR_DAYS * mix))
    return clusters


def _shares(mass: Float64Array) -> Float64Array:
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))
