"""Part of shift_assets.shift.segment.alert_clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import INTEREST_MOVES
from shift_assets.settings.root import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
from shift_assets.shift.segment.alert_clusters import newest_alerts

LARGEST_ITEMSET = 3
"""Categories in a rule: with more it speaks of few users and says what the shorter ones said."""


MAXIMUM_RULES = 200
"""Rules kept of a day and segment, those of the largest lift."""


Itemsets = dict[frozenset[str], int]


Miner = Callable[[list[list[str]], int], Itemsets]
"""`(items of every user, fewest users) -> users of every itemset` of at most LARGEST_ITEMSET items."""


def interest_moves(
    alerts: pa.Table, partitions: Iterable[Partition], settings: Settings, miner: Miner | None = None
) -> pa.Table:
    """`interest_moves` of the partitions: rules with one consequent, more frequent together than apart.

    alerts: as of `alert_clusters`. Items are `rose:<category>` and `fell:<category>`; frequent itemsets come from
    FP-growth (Han, Pei & Yin, SIGMOD 2000), `mine_itemsets` unless another `miner` is given.
    """
    rows: list[dict[str, Any]] = []
    for day, segment in partitions:
        baskets = [
            sorted(
                {f"fell:{c['category']}" for c in move["falling"]} | {f"rose:{c['category']}" for c in move["rising"]}
            )
            for move in newest_alerts(alerts, day, segment)
        ]
        if len(baskets) >= settings.moves.minimum_users:
            itemsets = (miner or mine_itemsets)(baskets, settings.moves.minimum_users)
            found = _rules(itemsets, len(baskets), settings.moves.minimum_confidence)
            rows += [{"day": day, "segment": segment, **rule} for rule in found]
    return INTEREST_MOVES.conform(pa.Table.from_pylist(rows, schema=INTEREST_MOVES.schema))


def mine_itemsets(baskets: list[list[str]], minimum_support: int) -> Itemsets:
    """Frequent itemsets in this process."""
    from mlxtend.frequent_patterns import fpgrowth
    from mlxtend.preprocessing import TransactionEncoder
    from pandas import DataFrame

    encoder = TransactionEncoder()
    transactions = DataFrame(encoder.fit_transform(baskets), columns=encoder.columns_)
    # Half a user less: no rounding of the share decides.
    support = (minimum_support - 0.5) / len(baskets)
    found = fpgrowth(transactions, min_support=support, use_colnames=True, max_len=LARGEST_ITEMSET)
    return {
        frozenset(itemset): round(share * len(baskets))
        for itemset, share in zip(found["itemsets"], found["support"], strict=True)
    }


@dataclass(frozen=True, slots=True)
class SparkMiner:
    """Frequent itemsets by Spark MLlib, for partitions too large for one process."""

    session: SparkSession

    def __call__(self, baskets: list[list[str]], minimum_support: int) -> Itemsets:
        from pyspark.ml.fpm import FPGrowth
        from pyspark.sql.functions import col, size

        transactions = self.session.createDataFrame([(basket,) for basket in baskets], "items array<string>")
        model = FPGrowth(itemsCol="items", minSupport=(minimum_support - 0.5) / len(baskets)).fit(transactions)
        frequent = model.freqItemsets.where(size(col("items")) <= LARGEST_ITEMSET)
        return {frozenset(row["items"]): int(row["freq"]) for row in frequent.collect()}


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
    return found[:MAXIMUM_RULES]
