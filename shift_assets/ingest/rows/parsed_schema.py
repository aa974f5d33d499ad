"""The schema that the parser hands to the set logic: one row per raw row, accepted so far or rejected.

Both engines run the same parser over the same files, so everything that concerns a single row (types, zones,
behaviour names, pseudonym, segment, local day, event id, the source's own rules) is decided here, once.
"""

from __future__ import annotations

import pyarrow as pa

PARSED = pa.schema(
    [
        pa.field("folder_day", pa.date32(), nullable=False),  # day of the landing folder
        pa.field("source_file", pa.string(), nullable=False),  # relative to the landing folder, with slashes
        pa.field("source_row", pa.int64(), nullable=False),  # from 1; 0: the file as a whole
        pa.field("day", pa.date32(), nullable=False),  # partition: the event's local day, else the folder's
        pa.field("segment", pa.string(), nullable=False),  # the user's; by hash of file and row where unknown
        pa.field("segment_known", pa.bool_(), nullable=False),
        pa.field("event_id", pa.string()),  # null where rejected
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("category", pa.string()),  # as in the file; the set logic replaces it by the fitted one
        pa.field("behavior", pa.string()),
        pa.field("event_ts", pa.timestamp("us", tz="UTC")),
        pa.field("quantity", pa.float64()),
        pa.field("price", pa.float64()),
        pa.field("rating", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("reason", pa.string()),  # null: accepted so far
        pa.field("detail", pa.string()),
        pa.field("raw", pa.binary(), nullable=False),  # original bytes, capped at 64 KiB
        pa.field("raw_sha256", pa.string()),  # null while accepted and not longer than the cap
    ]
)
