"""Clusters of users with an alert, by their category shares before and after.

Only the newest alert of every user in the window counts; it lists the categories that gained and lost, with their
shares before and since its onset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import ALERT_CLUSTERS
from shift_assets.settings.root import Settings

MAXIMUM_CLUSTERS = 8
"""Largest number of clusters that is tried."""
WINDOW_DAYS = 28
MINIMUM_USERS = 10
"""Users below which no clusters are searched."""
DBSCAN_NEIGHBOURS = 5
"""Users close to one another that make a dense region (DBSCAN)."""
MAXIMUM_FITTED_USERS = 4_000
"""Users that clusters are fitted on; a silhouette compares all pairs, and more users change a centre little."""
MAXIMUM_LISTED = 3
MAXIMUM_NAMED = 2
MINIMUM_SHARE_CHANGE = 0.02
"""Change of a mean share below which a category is not listed with a cluster."""


def alert_clusters(alerts: pa.Table, partitions: Iterable[Partition], settings: Settings) -> pa.Table:
    """Return `alert_clusters` of the partitions, by k-means and DBSCAN on the users' shares before and after.

    k is the one of 2 to `moves.clusters` with the largest mean silhouette. DBSCAN's radius is the median distance to
    the fifth neighbour; users outside dense regions are in no cluster.

    Args:
        alerts: `shift_alerts` of the `WINDOW_DAYS` days up to each day.
        partitions: days and segments.
        settings: number of clusters, language and seed.
    """
    rows: list[dict[str, Any]] = []
    for day, segment in partitions:
        moves = newest_alerts(alerts, day, segment)
        if len(moves) >= MINIMUM_USERS:
            found = _Profiles(moves, settings)
            for method, group in (("k_means", found.k_means()), ("dbscan", found.dbscan())):
                key = {"day": day, "segment": segment, "method": method}
                rows += [key | cluster for cluster in found.describe(*group)]
    return ALERT_CLUSTERS.conform(pa.Table.from_pylist(rows, schema=ALERT_CLUSTERS.schema))


def newest_alerts(alerts: pa.Table, day: date, segment: str) -> list[dict[str, Any]]:
    """Return the newest alert with a category of every user in the window, sorted by user."""
    inside = pc.and_(
        pc.greater(alerts["day"], pa.scalar(day - timedelta(days=WINDOW_DAYS), pa.date32())),
        pc.less_equal(alerts["day"], pa.scalar(day, pa.date32())),
    )
    own = alerts.filter(pc.and_(inside, pc.equal(alerts["segment"], segment)))
    own = own.select(["day", "alert_id", "user_id", "rising", "falling"])
    own = own.sort_by([("user_id", "ascending"), ("day", "ascending"), ("alert_id", "ascending")])
    with_categories = (row for row in own.to_pylist() if row["rising"] or row["falling"])
    return list({row["user_id"]: row for row in with_categories}.values())


class _Profiles:
    """Shares before and after, [user, 2 x category], of the users of `moves`."""

    def __init__(self, moves: list[dict[str, Any]], settings: Settings) -> None:
        self.users = [move["user_id"] for move in moves]
        changes = [[*move["rising"], *move["falling"]] for move in moves]
        self.categories = sorted({change["category"] for listed in changes for change in listed})
        position = {name: number for number, name in enumerate(self.categories)}
        self.shares = np.zeros((len(moves), 2 * len(position)))
        for user, listed in enumerate(changes):
            for change in listed:
                self.shares[user, position[change["category"]]] = change["share_before"]
                self.shares[user, len(position) + position[change["category"]]] = change["share_after"]
        self.settings = settings
        random = np.random.default_rng(settings.seed)
        n_fitted = min(MAXIMUM_FITTED_USERS, len(moves))
        self.fitted = np.sort(random.choice(len(moves), n_fitted, replace=False))

    def k_means(self) -> tuple[Int64Array, Float64Array]:
        """Cluster of every user, and silhouette of every fitted one."""
        from sklearn.cluster import KMeans

        sample = self.shares[self.fitted]
        distinct = len(np.unique(sample, axis=0))
        best, best_silhouette = np.zeros(len(self.users), dtype=np.int64), np.full(len(sample), np.nan)
        for k in range(2, min(MAXIMUM_CLUSTERS, distinct - 1) + 1):
            model = KMeans(n_clusters=k, n_init=5, random_state=self.settings.seed % 2**32).fit(sample)
            silhouette = _silhouettes(sample, model.labels_)
            if np.isnan(best_silhouette).all() or np.nanmean(silhouette) > np.nanmean(best_silhouette) + 1e-9:
                best, best_silhouette = model.predict(self.shares).astype(np.int64), silhouette
        return best, best_silhouette

    def dbscan(self) -> tuple[Int64Array, Float64Array]:
        """Cluster of every user, -1 for none, and silhouette of every fitted one."""
        from sklearn.cluster import DBSCAN
        from sklearn.neighbors import NearestNeighbors

        sample = self.shares[self.fitted]
        near = NearestNeighbors(n_neighbors=DBSCAN_NEIGHBOURS).fit(sample)
        radius = float(np.median(near.kneighbors(sample)[0][:, -1])) + 1e-9
        model = DBSCAN(eps=radius, min_samples=DBSCAN_NEIGHBOURS).fit(sample)
        core = sample[model.core_sample_indices_]
        distance, nearest = NearestNeighbors(n_neighbors=1).fit(core).kneighbors(self.shares)
        label = model.labels_[model.core_sample_indices_][nearest[:, 0]]
        label = np.where(distance[:, 0] <= radius, label, -1).astype(np.int64)
        return label, _silhouettes(sample, label[self.fitted])

    def describe(self, label: Int64Array, silhouette: Float64Array) -> list[dict[str, Any]]:
        """Rows of the clusters, largest first."""
        sizes = Counter(label[label >= 0].tolist())
        rows = []
        for number, cluster in enumerate(sorted(sizes, key=lambda c: (-sizes[c], c)), 1):
            members = np.flatnonzero(label == cluster)
            centre = self.shares[members].mean(axis=0)
            before, after = np.split(np.clip(centre, 0.0, 1.0), 2)
            rising = self._largest(before, after, 1)
            falling = self._largest(before, after, -1)
            distance = np.linalg.norm(self.shares[members] - centre, axis=1)
            own = silhouette[label[self.fitted] == cluster]
            rows.append(
                {
                    "cluster": number,
                    "name": _cluster_name(rising, falling, self.settings.alerts.language),
                    "n_users": len(members),
                    "share_of_users": len(members) / len(self.users),
                    "rising": rising,
                    "falling": falling,
                    "silhouette": float(own.mean()) if np.isfinite(own).any() else None,
                    "user_id": self.users[members[distance.argmin()]],
                }
            )
        return rows

    def _largest(self, before: Float64Array, after: Float64Array, sign: int) -> list[dict[str, Any]]:
        """Categories whose share changed most in the direction of `sign`."""
        change = sign * (after - before)
        return [
            {"category": self.categories[c], "share_before": float(before[c]), "share_after": float(after[c])}
            for c in np.argsort(-change, kind="stable")[:MAXIMUM_LISTED]
            if change[c] >= MINIMUM_SHARE_CHANGE
        ]


def _silhouettes(sample: Float64Array, label: Int64Array) -> Float64Array:
    """Silhouette of every row; nan where it is in no cluster or there is only one."""
    from sklearn.metrics import silhouette_samples

    out = np.full(len(sample), np.nan)
    inside = label >= 0
    if 1 < len(np.unique(label[inside])) < inside.sum():
        out[inside] = silhouette_samples(sample[inside], label[inside])
    return out


def _cluster_name(rising: list[dict[str, Any]], falling: list[dict[str, Any]], language: str) -> str:
    """Name of a cluster by the categories that its users left and turned to."""
    fallen, risen = (", ".join(change["category"] for change in side[:MAXIMUM_NAMED]) for side in (falling, rising))
    if language == "zh":
        return (f"从 {fallen} " if fallen else "") + (f"到 {risen}" if risen else "") or "变化各异"
    return (
        " ".join([*([f"from {fallen}"] if fallen else []), *([f"to {risen}"] if risen else [])]) or "many small changes"
    )
