"""Event files as bytes: JSON lines, CSV or Parquet, assembled from tables of precomputed fragments."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from shift_assets.arrays import BytesArray, Int64Array
from shift_assets.simulate.population import Block, user_ids
from shift_assets.simulate.simulation import Simulation
from shift_assets.simulate.traffic import ACTIONS, Traffic
from shift_assets.simulate.world import World, item_ids

COLUMNS = ("user_id", "item_id", "category", "behavior", "event_ts", "quantity", "price", "rating", "text")
"""Columns of the event files, in the order of a CSV line."""

_ROWS_AT_ONCE = 16_384
_REVIEWS = ("Sent it back.", "Not what I hoped for.", "Does the job.", "Good value.", "Excellent, would buy again.")


class _Action(NamedTuple):
    behavior: str
    quantity: int | None
    rating: int | None
    text: str | None


def _action(behavior: str, number: int) -> _Action:
    if behavior in ("purchase", "return"):
        return _Action(behavior, number, None, None)
    if behavior == "rating":
        return _Action(behavior, None, number, None)
    return _Action(behavior, None, number or None, _REVIEWS[number - 1] if number else None)


_FACTS = tuple(_action(behavior, number) for behavior, number in ACTIONS)


@dataclass(frozen=True)
class CatalogueFragments:
    """JSON fragments that lines of an item, an action or a millisecond have in common, by index."""

    item: BytesArray  # item_id and category
    action: BytesArray
    price: BytesArray  # price, and the end of the line
    millisecond: BytesArray  # 000 to 999


def catalogue_fragments(world: World) -> CatalogueFragments:
    """JSON fragments of the items of `world`, and of the actions."""
    ids = item_ids(len(world.item_category))
    categories = [world.categories[k] for k in world.item_category]
    return CatalogueFragments(
        item=np.array(
            [f'","item_id":"{i}","category":"{c}","behavior":"'.encode() for i, c in zip(ids, categories, strict=True)]
        ),
        action=np.array([_action_json(facts) for facts in _FACTS]),
        price=np.array([f',"price":{price}}}\n'.encode() for price in world.item_price.tolist()]),
        millisecond=np.array([f"{k:03d}".encode() for k in range(1000)]),
    )


def json_lines(fragments: CatalogueFragments, users: BytesArray, traffic: Traffic, start_second: int) -> bytes:
    """One JSON object per line; `start_second` is the first second of the day, as a Unix time.

    Fixed-width fields are concatenated, and their padding, NUL bytes, is removed.
    """
    n = len(traffic)
    second, millisecond = np.divmod(traffic.milliseconds, 1000)
    clock = np.array([str(start_second + k).encode() for k in range(int(second[-1]) + 1)]) if n else np.zeros(1, "S1")
    tables: list[tuple[BytesArray, Int64Array]] = [
        (users, traffic.user),
        (fragments.item, traffic.item),
        (fragments.action, traffic.action),
        (clock, second),
        (fragments.millisecond, millisecond),
        (fragments.price, traffic.item),
    ]
    layout = np.dtype([(str(position), table.dtype) for position, (table, _) in enumerate(tables)])
    parts = []
    for low in range(0, n, _ROWS_AT_ONCE):
        high = min(n, low + _ROWS_AT_ONCE)
        rows = np.empty(high - low, layout)
        for position, (table, index) in enumerate(tables):
            rows[str(position)] = table[index[low:high]]
        parts.append(rows.tobytes().translate(None, b"\0"))
    return b"".join(parts)


def user_fragments(simulation: Simulation, block: Block) -> BytesArray:
    return np.array([f'{{"user_id":"{user}'.encode() for user in user_ids(simulation, block)])


def event_table(world: World, ids: list[str], traffic: Traffic, start_second: int) -> pa.Table:
    """The events as an Arrow table with COLUMNS."""
    item, action = pa.array(traffic.item), pa.array(traffic.action)
    category = pa.array(world.categories).take(pa.array(world.item_category))
    return pa.table(
        {
            "user_id": pa.array(ids, pa.string()).take(pa.array(traffic.user)),
            "item_id": pa.array(item_ids(len(world.item_category))).take(item),
            "category": category.take(item),
            "behavior": pa.array([facts.behavior for facts in _FACTS]).take(action),
            "event_ts": pa.array(start_second * 1000 + traffic.milliseconds),
            "quantity": pa.array([facts.quantity for facts in _FACTS], pa.int64()).take(action),
            "price": pa.array(world.item_price).take(item),
            "rating": pa.array([facts.rating for facts in _FACTS], pa.int64()).take(action),
            "text": pa.array([facts.text for facts in _FACTS], pa.string()).take(action),
        }
    )


def csv_lines(table: pa.Table) -> bytes:
    """`table` as CSV without a header."""
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
    return sink.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def gzip_bytes(data: bytes) -> bytes:
    """`data` as gzip without a timestamp, so that the same input gives the same bytes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def _action_json(facts: _Action) -> bytes:
    more = {"quantity": facts.quantity, "rating": facts.rating, "text": facts.text}
    given = "".join(f',"{name}":{json.dumps(value)}' for name, value in more.items() if value is not None)
    return f'{facts.behavior}"{given},"event_ts":'.encode()
