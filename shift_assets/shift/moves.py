"""Who moves from where to where: clusters of alarmed users by old and new profile, and rules over what fell and rose.

Both look at the newest alarm of every user in the days given; an alarm lists the categories that gained and lost with
their shares before and since its onset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.contracts import ALARM_CLUSTERS, INTEREST_MOVES, Partition
from shift_assets.settings import Settings
from shift_assets.shift.rings import Floats, Ints

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WINDOW_DAYS = 28
FEWEST_USERS = 10
"""Users below which no clusters are sought."""
NEIGHBOURS = 5
"""Users close to one another that make a dense place (DBSCAN)."""
FITTED = 4_000
"""Users that clusters are fitted on; a silhouette compares all pairs, and more users change a centre little."""
LISTED = 3
NAMED = 2
VISIBLE = 0.02
"""Change of a mean share below which a category is not told of a cluster."""
LARGEST_ITEMSET = 3
"""Categories in a rule: with more it speaks of few users and says what the shorter ones said."""
RULES = 200
"""Rules kept of a day and segment, those of the largest lift."""

Itemsets = dict[frozenset[str], int]
Miner = Callable[[list[list[str]], int], Itemsets]
"""`(items of every user, fewest users) -> users of every itemset` of at most LARGEST_ITEMSET items."""


def alarm_clusters(alerts: pa.Table, partitions: Iterable[Partition], settings: Settings) -> pa.Table:
    """`alarm_clusters` of the partitions, by k-means and DBSCAN on the users' shares before and after.

    alerts: `shift_alerts` of the `WINDOW_DAYS` up to each day. k: of 2 to `moves.clusters` the one of the largest mean
    silhouette. DBSCAN: within the median distance to the fifth neighbour; users in no dense place are in no cluster.
    """
    rows: list[dict[str, Any]] = []
    for day, segment in partitions:
        moves = _newest(alerts, day, segment)
        if len(moves) >= FEWEST_USERS:
            found = _Profiles(moves, settings)
            for method, group in (("k_means", found.k_means()), ("dbscan", found.dbscan())):
                key = {"day": day, "segment": segment, "method": method}
                rows += [key | cluster for cluster in found.described(*group)]
    return ALARM_CLUSTERS.conform(pa.Table.from_pylist(rows, schema=ALARM_CLUSTERS.schema))


def interest_moves(
    alerts: pa.Table, partitions: Iterable[Partition], settings: Settings, miner: Miner | None = None
) -> pa.Table:
    """`interest_moves` of the partitions: rules with one consequent, more frequent together than apart.

    alerts: as of `alarm_clusters`. Items are `rose:<category>` and `fell:<category>`; frequent itemsets come from
    FP-growth (Han, Pei & Yin, SIGMOD 2000), `mined_embedded` unless another `miner` is given.
    """
    rows: list[dict[str, Any]] = []
    for day, segment in partitions:
        baskets = [
            sorted(
                {f"fell:{c['category']}" for c in move["falling"]} | {f"rose:{c['category']}" for c in move["rising"]}
            )
            for move in _newest(alerts, day, segment)
        ]
        if len(baskets) >= settings.moves.minimum_users:
            itemsets = (miner or mined_embedded)(baskets, settings.moves.minimum_users)
            found = _rules(itemsets, len(baskets), settings.moves.minimum_confidence)
            rows += [{"day": day, "segment": segment, **rule} for rule in found]
    return INTEREST_MOVES.conform(pa.Table.from_pylist(rows, schema=INTEREST_MOVES.schema))


def mined_embedded(baskets: list[list[str]], fewest: int) -> Itemsets:
    """Frequent itemsets in this process."""
    from mlxtend.frequent_patterns import fpgrowth
    from mlxtend.preprocessing import TransactionEncoder
    from pandas import DataFrame

    encoder = TransactionEncoder()
    held = DataFrame(encoder.fit_transform(baskets), columns=encoder.columns_)
    # Half a user less: no rounding of the share decides.
    support = (fewest - 0.5) / len(baskets)
    found = fpgrowth(held, min_support=support, use_colnames=True, max_len=LARGEST_ITEMSET)
    return {
        frozenset(itemset): round(share * len(baskets))
        for itemset, share in zip(found["itemsets"], found["support"], strict=True)
    }


@dataclass(frozen=True, slots=True)
class SparkMiner:
    """Frequent itemsets by Spark MLlib, for partitions too large for one process."""

    session: SparkSession

    def __call__(self, baskets: list[list[str]], fewest: int) -> Itemsets:
        from pyspark.ml.fpm import FPGrowth
        from pyspark.sql.functions import col, size

        held = self.session.createDataFrame([(basket,) for basket in baskets], "items array<string>")
        model = FPGrowth(itemsCol="items", minSupport=(fewest - 0.5) / len(baskets)).fit(held)
        frequent = model.freqItemsets.where(size(col("items")) <= LARGEST_ITEMSET)
        return {frozenset(row["items"]): int(row["freq"]) for row in frequent.collect()}


def _newest(alerts: pa.Table, day: date, segment: str) -> list[dict[str, Any]]:
    """The newest alarm of every user in the window that tells of categories, by user."""
    inside = pc.and_(
        pc.greater(alerts["day"], pa.scalar(day - timedelta(days=WINDOW_DAYS), pa.date32())),
        pc.less_equal(alerts["day"], pa.scalar(day, pa.date32())),
    )
    own = alerts.filter(pc.and_(inside, pc.equal(alerts["segment"], segment)))
    own = own.select(["day", "alert_id", "user_id", "rising", "falling"])
    own = own.sort_by([("user_id", "ascending"), ("day", "ascending"), ("alert_id", "ascending")])
    told = (row for row in own.to_pylist() if row["rising"] or row["falling"])
    return list({row["user_id"]: row for row in told}.values())


class _Profiles:
    """Shares before and after, [user, 2 x category], of the users of `moves`."""

    def __init__(self, moves: list[dict[str, Any]], settings: Settings) -> None:
        self.users = [move["user_id"] for move in moves]
        changes = [[*move["rising"], *move["falling"]] for move in moves]
        self.categories = sorted({change["category"] for listed in changes for change in listed})
        place = {name: number for number, name in enumerate(self.categories)}
        self.shares = np.zeros((len(moves), 2 * len(place)))
        for user, listed in enumerate(changes):
            for change in listed:
                self.shares[user, place[change["category"]]] = change["share_before"]
                self.shares[user, len(place) + place[change["category"]]] = change["share_after"]
        self.settings = settings
        random = np.random.default_rng(settings.seed)
        n_fitted = min(FITTED, len(moves))
        self.fitted = np.sort(random.choice(len(moves), n_fitted, replace=False))

    def k_means(self) -> tuple[Ints, Floats]:
        """Cluster of every user, and silhouette of every fitted one."""
        from sklearn.cluster import KMeans

        sample = self.shares[self.fitted]
        distinct = len(np.unique(sample, axis=0))
        best, best_silhouette = np.zeros(len(self.users), dtype=np.int64), np.full(len(sample), np.nan)
        for k in range(2, min(self.settings.moves.clusters, distinct - 1) + 1):
            model = KMeans(n_clusters=k, n_init=5, random_state=self.settings.seed % 2**32).fit(sample)
            silhouette = _silhouettes(sample, model.labels_)
            if np.isnan(best_silhouette).all() or np.nanmean(silhouette) > np.nanmean(best_silhouette) + 1e-9:
                best, best_silhouette = model.predict(self.shares).astype(np.int64), silhouette
        return best, best_silhouette

    def dbscan(self) -> tuple[Ints, Floats]:
        """Cluster of every user, -1 for none, and silhouette of every fitted one."""
        from sklearn.cluster import DBSCAN
        from sklearn.neighbors import NearestNeighbors

        sample = self.shares[self.fitted]
        near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(sample)
        radius = float(np.median(near.kneighbors(sample)[0][:, -1])) + 1e-9
        model = DBSCAN(eps=radius, min_samples=NEIGHBOURS).fit(sample)
        core = sample[model.core_sample_indices_]
        distance, nearest = NearestNeighbors(n_neighbors=1).fit(core).kneighbors(self.shares)
        label = model.labels_[model.core_sample_indices_][nearest[:, 0]]
        label = np.where(distance[:, 0] <= radius, label, -1).astype(np.int64)
        return label, _silhouettes(sample, label[self.fitted])

    def described(self, label: Ints, silhouette: Floats) -> list[dict[str, Any]]:
        """The clusters, largest first."""
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
                    "name": _named(rising, falling, self.settings.alerts.language),
                    "n_users": len(members),
                    "share_of_users": len(members) / len(self.users),
                    "rising": rising,
                    "falling": falling,
                    "silhouette": float(own.mean()) if np.isfinite(own).any() else None,
                    "user_id": self.users[members[distance.argmin()]],
                }
            )
        return rows

    def _largest(self, before: Floats, after: Floats, sign: int) -> list[dict[str, Any]]:
        """Categories whose share changed most in the direction of `sign`."""
        change = sign * (after - before)
        return [
            {"category": self.categories[c], "share_before": float(before[c]), "share_after": float(after[c])}
            for c in np.argsort(-change, kind="stable")[:LISTED]
            if change[c] >= VISIBLE
        ]


def _silhouettes(sample: Floats, label: Ints) -> Floats:
    """Silhouette of every row, nan where it is in no cluster or there is but one cluster."""
    from sklearn.metrics import silhouette_samples

    out = np.full(len(sample), np.nan)
    inside = label >= 0
    if 1 < len(np.unique(label[inside])) < inside.sum():
        out[inside] = silhouette_samples(sample[inside], label[inside])
    return out


def _named(rising: list[dict[str, Any]], falling: list[dict[str, Any]], language: str) -> str:
    """A cluster by what its users left and what they came to."""
    fallen, risen = (", ".join(change["category"] for change in side[:NAMED]) for side in (falling, rising))
    if language == "zh":
        return (f"从 {fallen} " if fallen else "") + (f"到 {risen}" if risen else "") or "变化各异"
    return (
        " ".join([*([f"from {fallen}"] if fallen else []), *([f"to {risen}"] if risen else [])]) or "many small changes"
    )


def _rules(itemsets: Itemsets, n_users: int, minimum_confidence: float) -> list[dict[str, Any]]:
    """Rules of lift above 1, largest lift first."""
    found: list[dict[str, Any]] = []
    for itemset, together in itemsets.items():
        for consequent in sorted(itemset) if len(itemset) > 1 else ():
            antecedent = itemset - {consequent}
            confidence = together / itemsets[antecedent]
            lift = confidence * n_users / itemsets[frozenset([consequent])]
            if confidence >= minimum_confidence and lift > 1:
                found.append(
                    {
                        "antecedent": " + ".join(sorted(antecedent)),
                        "antecedent_items": len(antecedent),
                        "consequent": consequent,
                        "n_users": together,
                        "n_antecedent": itemsets[antecedent],
                        "support": together / n_users,
                        "confidence": confidence,
                        "lift": lift,
                    }
                )
    found.sort(key=lambda rule: (-rule["lift"], -rule["n_users"], rule["antecedent"], rule["consequent"]))
    return found[:RULES]
