"""Part of shift_assets.contracts.registry."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.contracts.columns import CATEGORY, FLOAT, HEX_32, INT, ITEM_ID, STRING, TIMESTAMP, USER_ID
from shift_assets.contracts.table import Column, Table

BEHAVIORS = ("view", "click", "favorite", "cart", "purchase", "return", "rating", "review")
"""The contract's behaviours, in the order of their columns."""


REJECT_REASONS = (
    "malformed",
    "missing_user",
    "missing_item",
    "bad_timestamp",
    "wrong_day",
    "unknown_behavior",
    "bad_value",
    "duplicate",
    "too_long",
    "bot_burst",
    "unreadable_file",
)


CLEAN_EVENTS = Table(
    "clean_events",
    grain="one accepted behaviour event",
    key=("event_id",),
    consumer="interest series, features, model training, outcomes",
    own_columns=(
        Column("event_id", STRING, "Digest of the delivered event's identity", pattern=HEX_32),
        USER_ID,
        ITEM_ID,
        CATEGORY,
        Column("behavior", STRING, "What the user did", allowed=BEHAVIORS),
        Column("event_ts", TIMESTAMP, "When it happened", unit="UTC"),
        Column("quantity", FLOAT, "Units, as delivered", nullable=True),
        Column("price", FLOAT, "Price of one unit, in the shop's currency", nullable=True),
        Column("rating", FLOAT, "Stars given", nullable=True),
        Column("text", STRING, "Review or item text of the event", nullable=True),
        Column("source", STRING, "Name of the source that delivered it"),
        Column("source_file", STRING, "Delivered file, relative to the landing folder"),
        Column("source_row", INT, "Row in that file, from 1", minimum=1),
    ),
)


REJECTED_EVENTS = Table(
    "rejected_events",
    grain="one delivered row that is no clean event",
    key=("source_file", "source_row"),
    consumer="quarantine replay, data-quality dashboards",
    own_columns=(
        Column("source_file", STRING, "Delivered file, relative to the landing folder"),
        Column("source_row", INT, "Row in that file, from 1; 0 where the file as a whole is unreadable", minimum=0),
        Column(
            "segment_known", pa.bool_(), "False: the user cannot be told, and the segment is a hash of file and row"
        ),
        Column("reason", STRING, "Why it was rejected", allowed=REJECT_REASONS),
        Column("detail", STRING, "What exactly was wrong, and with which value"),
        Column("raw", pa.binary(), "The delivered bytes, capped at 64 KiB"),
        Column("raw_sha256", STRING, "SHA-256 of the whole delivered row", pattern=r"^[0-9a-f]{64}$"),
    ),
)


DELIVERIES = Table(
    "deliveries",
    grain="one delivered file, as far as its rows fell to the partition",
    key=("source_file",),
    consumer="accounting: every delivered row is clean or rejected",
    own_columns=(
        Column("source_file", STRING, "Delivered file, relative to the landing folder"),
        Column("file_sha256", STRING, "SHA-256 of the delivered bytes", pattern=r"^[0-9a-f]{64}$"),
        Column("file_rows", INT, "Rows of the whole file", unit="count", minimum=0),
        Column(
            "rows",
            INT,
            "Rows of the file that fell to this partition, as the parser counted them",
            unit="count",
            minimum=1,
        ),
    ),
)
