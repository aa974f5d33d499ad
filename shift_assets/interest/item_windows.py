"""Events of look-back windows, grouped by day, segment and item."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shift_assets.arrays import CategoryCodes, Float64Array, Int64Array
from shift_assets.interest.lookback import column_days, expand, groups, median


class ItemWindows:
    """Events of the windows that end on the requested days; an output row is one day, segment and item.

    Attributes:
        events: `clean_events` in the order of time.
        row, at, out: event, position of the window's day and output row of every (event, window) pair.
        out_at, out_segment, out_item, out_category: day position and codes of every output row; the category is that
            of the item's newest event in the window.
    """

    def __init__(self, events: pa.Table, requested: Int64Array, look_back_days: int) -> None:
        self.events = events.sort_by([("event_ts", "ascending"), ("event_id", "ascending")])
        self.requested = requested
        self.segments, self.items, self.categories = (
            CategoryCodes(self.events[name]) for name in ("segment", "item_id", "category")
        )
        self.segment = self.segments.encode(self.events["segment"])
        self.item = self.items.encode(self.events["item_id"])
        self.day = column_days(self.events["day"])
        self.row, self.at = expand(self.day, requested, look_back_days)
        keys, self.out = groups(self.at, self.segment[self.row], self.item[self.row])
        self.out_at, self.out_segment, self.out_item = keys
        self.n_out = len(self.out_at)
        self.out_category = np.zeros(self.n_out, dtype=np.int64)
        # Rows are in the order of time: the newest is written last.
        self.out_category[self.out] = self.categories.encode(self.events["category"])[self.row]

    def median_prices(self) -> Float64Array:
        """Median price [out] of every item in its window; nan where it was never priced."""
        price = self.events["price"].to_numpy()[self.row]
        priced = ~np.isnan(price)
        return median(self.out[priced], price[priced], self.n_out)
