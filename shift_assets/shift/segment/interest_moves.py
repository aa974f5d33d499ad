"""Transitions of interest: association rules between the categories that fell and rose in users' alerts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from shift_assets.contracts.partition import Partition
from shift_assets.contracts.shift import INTEREST_MOVES
from shift_assets.interest.itemsets import Itemsets, Miner, mine_itemsets
from shift_assets.settings.root import Settings
from shift_assets.shift.segment.alert_clusters import newest_alerts

MAXIMUM_RULES = 200
"""Rules of a day and segment, those of the largest lift."""


def interest_moves(
    alerts: pa.Table, partitions: Iterable[Partition], settings: Settings, miner: Miner | None = None
) -> pa.Table:
    """Return `interest_moves` of the partitions: rules with one consequent and lift above 1.

    Items are `rose:<category>` and `fell:<category>`; a basket is the newest alert of a user.

    Args:
        alerts: `shift_alerts`, as for `alert_clusters`.
        partitions: days and segments.
        settings: minimum number of users and confidence.
        miner: function that finds the frequent itemsets; `mine_itemsets` by default.
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
