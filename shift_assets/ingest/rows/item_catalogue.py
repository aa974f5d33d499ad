"""Look up items by id, to fill events that lack a category, price or text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


class ItemCatalogue:
    """The items table, indexed by item id."""

    def __init__(self, items: pa.Table) -> None:
        ids = items["item_id"].to_pylist()
        self._row = dict(zip(ids, range(len(ids)), strict=True))
        self._columns = {name: items[name].combine_chunks() for name in ("category", "price", "text")}

    def lookup(self, item_ids: pa.Array) -> dict[str, pa.Array]:
        """Return category, price and text of each item id; null where the item or its value is unknown."""
        encoded = pc.dictionary_encode(item_ids)
        where = pa.array([self._row.get(text) for text in encoded.dictionary.to_pylist()], pa.int64())
        rows = where.take(encoded.indices)
        return {name: column.take(rows) for name, column in self._columns.items()}
