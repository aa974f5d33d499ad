"""The contract columns that a source YAML can fill, their DuckDB types, and the reasons that its rules may give."""

from __future__ import annotations

from typing import Literal

MAPPABLE_COLUMNS = ("user_id", "item_id", "category", "behavior", "event_ts", "quantity", "price", "rating", "text")
"""Contract columns that a source can fill."""

REQUIRED_COLUMNS = ("user_id", "item_id", "behavior", "event_ts")

ContractColumn = Literal[
    "user_id", "item_id", "category", "behavior", "event_ts", "quantity", "price", "rating", "text"
]
ConstantColumn = Literal["behavior", "category", "quantity", "price", "rating", "text"]
ItemColumn = Literal["item_id", "category", "price", "text"]
Behavior = Literal["view", "click", "favorite", "cart", "purchase", "return", "rating", "review"]
RuleReason = Literal["bad_value", "missing_user", "missing_item", "bad_timestamp", "unknown_behavior", "bot_burst"]

COLUMN_TYPES = {
    "user_id": "varchar",
    "item_id": "varchar",
    "category": "varchar",
    "behavior": "varchar",
    "event_ts": "timestamp",
    "quantity": "double",
    "price": "double",
    "rating": "double",
    "text": "varchar",
}
"""DuckDB type that an expression sees for each contract column; `event_ts` is in UTC."""
