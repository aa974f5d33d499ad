"""Types, patterns and columns that several tables share."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.table import Column

HEX_32 = r"^[0-9a-f]{32}$"

UNCATEGORISED = "uncategorised"
"""Category of an event that has none."""


STRING, INT, FLOAT, DAY = pa.string(), pa.int64(), pa.float64(), pa.date32()


TIMESTAMP = pa.timestamp("us", tz="UTC")


CATEGORY_CHANGES = pa.list_(
    pa.struct(
        [("category", STRING), ("share_before", FLOAT), ("share_after", FLOAT), ("contribution", FLOAT)]
    )  # contribution: evidence for the new profile, nats per day
)


CATEGORY_WEIGHTS = pa.list_(pa.struct([("category", STRING), ("weight", pa.float32())]))


USER_ID = Column("user_id", STRING, "Pseudonym of the user", pattern=HEX_32)


ITEM_ID = Column("item_id", STRING, "Raw id of the item")


CATEGORY = Column(
    "category", STRING, "Interest category: given by the source, or learned from item texts or co-occurrence"
)
