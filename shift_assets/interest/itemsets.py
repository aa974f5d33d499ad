"""Frequent itemsets by FP-growth.

Han, Pei & Yin, "Mining Frequent Patterns without Candidate Generation", SIGMOD 2000.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LARGEST_ITEMSET = 3
"""Items of an itemset: a rule of more items covers few baskets and repeats the shorter ones."""

Itemsets = dict[frozenset[str], int]
"""Number of baskets that hold each itemset."""
Miner = Callable[[list[list[str]], int], Itemsets]
"""`(items of every basket, minimum support in baskets) -> itemsets` of at most LARGEST_ITEMSET items."""


def mine_itemsets(baskets: list[list[str]], minimum_support: int) -> Itemsets:
    """Return the frequent itemsets, mined in this process."""
    from mlxtend.frequent_patterns import fpgrowth
    from mlxtend.preprocessing import TransactionEncoder
    from pandas import DataFrame

    encoder = TransactionEncoder()
    transactions = DataFrame(encoder.fit_transform(baskets), columns=encoder.columns_)
    # Half a basket less, so that rounding of the share does not decide.
    support = (minimum_support - 0.5) / len(baskets)
    found = fpgrowth(transactions, min_support=support, use_colnames=True, max_len=LARGEST_ITEMSET)
    return {
        frozenset(itemset): round(share * len(baskets))
        for itemset, share in zip(found["itemsets"], found["support"], strict=True)
    }


@dataclass(frozen=True, slots=True)
class SparkMiner:
    """Finds frequent itemsets with Spark MLlib, for data too large for one process."""

    session: SparkSession

    def __call__(self, baskets: list[list[str]], minimum_support: int) -> Itemsets:
        from pyspark.ml.fpm import FPGrowth
        from pyspark.sql.functions import col, size

        transactions = self.session.createDataFrame([(basket,) for basket in baskets], "items array<string>")
        model = FPGrowth(itemsCol="items", minSupport=(minimum_support - 0.5) / len(baskets)).fit(transactions)
        frequent = model.freqItemsets.where(size(col("items")) <= LARGEST_ITEMSET)
        return {frozenset(row["items"]): int(row["freq"]) for row in frequent.collect()}
