"""Explicit user signals: ratings, reviews, and a signal table that the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shift_assets.errors import UserError
from shift_assets.recommend.candidates.item_content import USER_TEXT_BEHAVIORS

NEUTRAL_STARS = 3.0
SIGNAL_TYPES = {
    "day": pa.date32(),
    "user_id": pa.string(),
    "text": pa.string(),
    "category": pa.string(),
    "weight": pa.float64(),
}
_SCHEMA = pa.schema([*SIGNAL_TYPES.items(), ("item_id", pa.string())])


@dataclass(frozen=True)
class UserSignals:
    """Rows of day, user_id (pseudonym), text, category, item_id (null where none) and weight; below 0: dislike."""

    rows: pa.Table

    @classmethod
    def of(cls, events: pa.Table, external: pa.Table | None) -> UserSignals:
        """Ratings and reviews of `events` (clean_events), and `external` signals in the columns of SIGNAL_TYPES.

        The weight of a review is its stars above NEUTRAL_STARS, 1 without stars.
        """
        own = events.filter(pc.is_in(events["behavior"], USER_TEXT_BEHAVIORS))
        stars = pc.subtract(own["rating"], NEUTRAL_STARS)
        reviews = pa.table(
            {
                "day": own["day"],
                "user_id": own["user_id"],
                "text": own["text"],
                "category": pa.nulls(own.num_rows, pa.string()),
                "weight": pc.fill_null(stars, 1.0),
                "item_id": own["item_id"],
            },
            schema=_SCHEMA,
        )
        if external is None:
            return cls(reviews)
        given = external.append_column("item_id", pa.nulls(external.num_rows, pa.string())).cast(_SCHEMA)
        return cls(pa.concat_tables([reviews, given]))


def read_signals(path: Path) -> pa.Table:
    """Read a Parquet file of signals; one of the columns text and category may be absent.

    Raises:
        UserError: A required column is absent or has another type.
    """
    table = pq.read_table(path)
    columns = {}
    for name, kind in SIGNAL_TYPES.items():
        if name in table.column_names:
            columns[name] = table[name]
        elif name in ("text", "category"):
            columns[name] = pa.nulls(table.num_rows, kind)
        else:
            raise UserError(f"{path}: column {name} is absent; expected {', '.join(SIGNAL_TYPES)}")
    if not {"text", "category"} & set(table.column_names):
        raise UserError(f"{path}: a signal needs a text or a category; add one of these columns")
    try:
        return pa.table(columns).cast(pa.schema(SIGNAL_TYPES))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: {error}; expected {_types()}") from error


def _types() -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in SIGNAL_TYPES.items())
