"""A lake filled with small plausible rows, made from the contracts alone: the same seed gives the same rows.

`rows_of` fills one table for one partition within every declared bound; users, items, categories and alerts come
from shared pools, so that tables join. `fill` publishes every table for a number of days and segments.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from shift_assets.contracts.columns import HEX_32
from shift_assets.contracts.partition import Partition
from shift_assets.contracts.registry import TABLES
from shift_assets.contracts.table import Column, Table
from shift_assets.storage.fence import Fence
from shift_assets.storage.lake import Lake

FIRST_DAY = date(2026, 3, 1)
CATEGORIES = ("baby care", "garden", "kitchen's", "läufer", "玩具")


def pseudonym(*parts: object) -> str:
    """32 hexadecimal characters that stand for `parts`."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass
class Pools:
    """What the rows of one partition draw from."""

    partition: Partition
    random: random.Random
    users: int = 12
    items: int = 15
    categories: Collection[str] = field(default=CATEGORIES)

    def user(self) -> str:
        return pseudonym("user", self.partition.segment, self.random.randrange(self.users))

    def alert(self) -> str:
        return pseudonym("alert", self.partition, self.random.randrange(self.users))

    def item(self) -> str:
        return f"item-{self.random.randrange(self.items)}"


def new_lake(home: Path) -> Lake:
    """The lake of the installation at `home`, empty at first."""
    return Lake(home / "lake", Fence(home / "fence.sqlite"))


def partitions(days: int, segments: Iterable[str] = ("uk", "rest")) -> list[Partition]:
    """`days` consecutive days from FIRST_DAY, each in every segment."""
    return [Partition(FIRST_DAY + timedelta(days=n), segment) for n in range(days) for segment in segments]


def fill(
    lake: Lake,
    wanted: Iterable[Partition],
    *,
    seed: int = 0,
    rows: int = 20,
    users: int = 12,
    tables: Iterable[str] = TABLES,
) -> None:
    """Publishes about `rows` rows of each of `tables` for each partition."""
    requested = list(wanted)
    for name in tables:
        table = TABLES[name]
        parts = [rows_of(table, partition, rows, seed=seed, users=users) for partition in requested]
        lake.publish(table, pa.concat_tables(parts), lake.claim(table, requested, "test"))


def rows_of(table: Table, partition: Partition, rows: int, *, seed: int = 0, users: int = 12) -> pa.Table:
    """At most `rows` rows of `table`: as many as have different keys."""
    pools = Pools(partition, random.Random(f"{seed}|{table.name}|{partition}"), users)  # noqa: S311
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number in range(rows):
        row = {column.name: _value(column, pools, number) for column in table.columns}
        row |= _COHERENT.get(table.name, lambda _row: {})(row)
        found.setdefault(tuple(row[name] for name in table.key), row)
    return pa.Table.from_pylist(list(found.values()), schema=table.schema)


def _value(column: Column, pools: Pools, number: int) -> Any:
    special: dict[str, Callable[[], Any]] = {
        "day": lambda: pools.partition.day,
        "segment": lambda: pools.partition.segment,
        "user_id": pools.user,
        "alert_id": pools.alert,
        "item_id": pools.item,
        "category": lambda: pools.random.choice(list(pools.categories)),
        "source_file": lambda: f"events/day={pools.partition.day}/part.jsonl",
        "source_row": lambda: number + 1,
        "rank": lambda: number % 20 + 1,
        "onset_day": lambda: pools.partition.day - timedelta(days=pools.random.randrange(5)),
    }
    if column.nullable and pools.random.random() < 0.2:
        return None
    if column.name in special:
        return special[column.name]()
    if column.allowed:
        return pools.random.choice(column.allowed)
    if column.pattern:
        return pseudonym(column.name, pools.partition, number) * (1 if column.pattern == HEX_32 else 2)
    return _of_type(column.type, pools, column)


def _of_type(kind: pa.DataType, pools: Pools, column: Column) -> Any:  # noqa: PLR0911 - one line per type
    if pa.types.is_boolean(kind):
        return pools.random.random() < 0.5
    if pa.types.is_integer(kind):
        low = int(column.minimum or 0)
        return pools.random.randint(low, int(column.maximum or low + 9))
    if pa.types.is_floating(kind):
        least = float(column.minimum or 0.0)
        most = least + 9.0 if column.maximum is None else float(column.maximum)
        return round(pools.random.uniform(least, most), 4)
    if pa.types.is_date(kind):
        return pools.partition.day
    if pa.types.is_timestamp(kind):
        midnight = datetime.combine(pools.partition.day, datetime.min.time(), UTC)
        return midnight + timedelta(seconds=pools.random.randrange(86_400))
    if pa.types.is_binary(kind):
        return f'{{"note":"{column.name} {pools.random.randrange(1000)}"}}'.encode()
    if pa.types.is_list(kind):
        return [_of_type(kind.value_type, pools, column) for _ in range(pools.random.randrange(1, 4))]
    if pa.types.is_struct(kind):
        return {f.name: _inner(f, pools, column) for f in kind}
    return f"{column.name} {pools.random.randrange(9)}"


def _inner(inner: pa.Field, pools: Pools, column: Column) -> Any:
    if inner.name == "category":
        return pools.random.choice(list(pools.categories))
    if inner.name.startswith("share_"):
        return round(pools.random.random(), 4)
    return _of_type(inner.type, pools, column)


_COHERENT: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # An alert belongs to one user, and its outcome to that alert.
    "shift_alerts": lambda row: {"alert_id": pseudonym("alert of", row["day"], row["user_id"])},
    "open_alerts": lambda row: {"alert_id": pseudonym("alert of", row["day"], row["user_id"])},
    "alert_outcomes": lambda row: {
        "alert_id": pseudonym("alert of", row["day"], pseudonym("user", row["segment"], int(row["alert_id"], 16) % 12))
    },
    "clean_events": lambda row: {"event_id": pseudonym("event", row["day"], row["segment"], row["source_row"])},
    "interest_moves": lambda row: {
        "antecedent": f"fell:{row['antecedent']}",
        "antecedent_items": 1,
        "consequent": f"rose:{row['consequent']}",
        "n_users": row["n_users"] + 10,
        "n_antecedent": row["n_users"] + row["n_antecedent"] + 10,
    },
}
