"""Which assets a range run materialises, and how many days before the range they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import dagster as dg
from dagster import AssetKey

from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.cleaning import DELIVERIES
from shift_assets.contracts.models import MODEL_PREDICTIONS, MODEL_REGISTRY
from shift_assets.contracts.quality import QUALITY_VERDICTS
from shift_assets.contracts.registry import TABLES
from shift_assets.defs.assets.graph import BASE_ASSETS, BASE_MODEL, CATEGORY_MODEL
from shift_assets.defs.assets.ingest import CLEAN
from shift_assets.defs.assets.interest import STATE
from shift_assets.defs.assets.models import MODEL
from shift_assets.defs.partitions import days_read_before
from shift_assets.errors import UserError

MADE_WITH = {DELIVERIES.name: CLEAN, QUALITY_VERDICTS.name: CLEAN, MODEL_REGISTRY.name: MODEL}
"""Tables that are no asset, with the asset that writes them."""
OPTIONAL_INPUTS = {CHURN_PREDICTIONS.name: frozenset({MODEL_PREDICTIONS.name})}
"""Inputs that an asset reads where they exist and does without where they do not: alerts alone train no model."""
_MADE_BY_OTHER_JOBS = (CATEGORY_MODEL, BASE_MODEL)


@dataclass(frozen=True, slots=True)
class RangeSelection:
    """Assets that are materialised together.

    Attributes:
        assets: Names of the assets, those of other jobs aside, sorted.
        history: Those of BASE_ASSETS among them, in that order.
        days_before: Days before the range that they read; None: all that the calendar has, for the state's sake.
        with_base_model: Whether the model of all segments is read.
    """

    assets: tuple[str, ...]
    history: tuple[str, ...]
    days_before: int | None
    with_base_model: bool

    @property
    def has_state(self) -> bool:
        return STATE in self.assets


def _upstream(parents: Mapping[str, set[str]], names: Sequence[str]) -> set[str]:
    """The named assets and all that they need, optional inputs aside."""
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += parents[name] - OPTIONAL_INPUTS.get(name, frozenset())
    return found


def select(definitions: dg.Definitions, only: Sequence[str] = ()) -> RangeSelection:
    """Return the named tables' assets and everything upstream of them; every asset where `only` is empty.

    Raises:
        UserError: A name is no table; the message lists the tables.
    """
    graph = definitions.resolve_asset_graph()
    known = sorted({key.to_user_string() for key in graph.get_all_asset_keys()} - set(_MADE_BY_OTHER_JOBS))
    names = [MADE_WITH.get(name, name) for name in only] or known
    for name in names:
        if name not in known:
            tables = ", ".join(sorted(set(known) | set(TABLES)))
            raise UserError(f"--only {name}: no such table; known: {tables}")
    keys = graph.get_all_asset_keys()
    parents = {key.to_user_string(): {each.to_user_string() for each in graph.get(key).parent_keys} for key in keys}
    needed = dg.AssetSelection.assets(*_upstream(parents, names)).required_multi_asset_neighbors()
    found = {key.to_user_string() for key in needed.resolve(graph)}

    @cache
    def days_before(name: str) -> int:
        node = graph.get(AssetKey(name))
        parents = {key: key.to_user_string() for key in node.parent_keys if key != node.key}
        read = [
            days_read_before(node.partition_mappings.get(key)) + days_before(parent) for key, parent in parents.items()
        ]
        return max(read, default=0)

    return RangeSelection(
        assets=tuple(sorted(found - set(_MADE_BY_OTHER_JOBS))),
        history=tuple(name for name in BASE_ASSETS if name in found),
        days_before=None if STATE in found else max(map(days_before, names)),
        with_base_model=BASE_MODEL in found,
    )
