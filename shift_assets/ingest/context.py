"""What the strict parser must know besides the file: made once, sent to every worker of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from shift_assets.ingest.source import Source


@dataclass(frozen=True)
class ParseContext:
    """Everything that a parsed row depends on besides its file. Picklable; its text form shows no secret.

    `items`: item_id, category, price, text (null where not delivered), one row per item.
    `user_segments`: user_id (pseudonym), segment, one row per user of the users table.
    """

    source: Source
    key: bytes = field(repr=False)
    lateness_days: int
    landing: Path
    items: pa.Table | None = field(default=None, repr=False, compare=False)
    user_segments: pa.Table | None = field(default=None, repr=False, compare=False)
