"""Tables of cleaning: accepted events, rejected rows and the accounting of source files."""

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
    description="Accepted behaviour events, parsed by the source's rules and cleaned of duplicates and bot bursts",
    grain="one accepted behaviour event",
    key=("event_id",),
    consumer=(
        "`interest_series`, `user_features`, `item_features`, `base_model`, `interest_model`, "
        "`model_predictions`, `list_fits`, `recommendations`, `segment_shifts`, `recommendation_outcomes`, "
        "`experiment_report`, `shift-assets evaluate`"
    ),
    own_columns=(
        Column("event_id", STRING, "Digest of what identifies the event", pattern=HEX_32),
        USER_ID,
        ITEM_ID,
        CATEGORY,
        Column("behavior", STRING, "What the user did", allowed=BEHAVIORS),
        Column("event_ts", TIMESTAMP, "Time of the event", unit="UTC"),
        Column("quantity", FLOAT, "Number of units; null where the source has none", nullable=True),
        Column("price", FLOAT, "Price of one unit, in the shop's currency", nullable=True),
        Column("rating", FLOAT, "Rating in stars", nullable=True),
        Column("text", STRING, "Review or item text of the event", nullable=True),
        Column("source", STRING, "Name of the source"),
        Column("source_file", STRING, "Source file, relative to the landing folder"),
        Column("source_row", INT, "Row of the source file, counted from 1", minimum=1),
    ),
)


REJECTED_EVENTS = Table(
    "rejected_events",
    description="The quarantine: rows of source files that cleaning did not accept, with the reason and the raw bytes",
    grain="one row of a source file that is not a clean event",
    key=("source_file", "source_row"),
    consumer="`rejected_reasons`, `shift-assets quarantine`",
    own_columns=(
        Column("source_file", STRING, "Source file, relative to the landing folder"),
        Column(
            "source_row", INT, "Row of the source file, counted from 1; 0 where the whole file is unreadable", minimum=0
        ),
        Column("segment_known", pa.bool_(), "False: the row names no user, and the segment is a hash of file and row"),
        Column("reason", STRING, "Why the row was rejected", allowed=REJECT_REASONS),
        Column("detail", STRING, "What exactly is wrong, with the offending value"),
        Column("raw", pa.binary(), "Raw bytes of the row, at most 64 KiB"),
        Column("raw_sha256", STRING, "SHA-256 of the whole raw row", pattern=r"^[0-9a-f]{64}$"),
    ),
)


DELIVERIES = Table(
    "deliveries",
    description="Source files and how many of their rows each partition received, counted by the parser",
    grain="one source file, as far as its rows belong to the partition",
    key=("source_file",),
    consumer="the checks of `clean_events`, which account for every row, the `landing` sensor",
    own_columns=(
        Column("source_file", STRING, "Source file, relative to the landing folder"),
        Column("file_sha256", STRING, "SHA-256 of the source file", pattern=r"^[0-9a-f]{64}$"),
        Column("file_rows", INT, "Rows of the whole file", unit="count", minimum=0),
        Column(
            "rows",
            INT,
            "Rows of the file that belong to this partition, as counted by the parser",
            unit="count",
            minimum=1,
        ),
    ),
)
