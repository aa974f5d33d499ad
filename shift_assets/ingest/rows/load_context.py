"""Build the parse context of an installation from its source, landing and privacy folders."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from shift_assets.ingest.rows.lookup_tables import read_items, read_users
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.source.config import Source
from shift_assets.privacy.erased_users import erased_pseudonyms
from shift_assets.privacy.pseudonym import load_key


def load_parse_context(source: Source, landing: Path, privacy_folder: Path, lateness_days: int) -> ParseContext:
    """Everything the parser must know: the key is loaded (or made), erased users are listed, items and
    users are read from the landing."""
    key = load_key(privacy_folder)
    users = read_users(landing, source, key)
    segments = None
    if source.segments.table == "users" and users is not None:
        segment_by_value, other = source.segments.segment_by_value, source.segment_keys[-1]
        values = users[source.segments.column or ""].to_pylist()
        chosen = [segment_by_value.get(value, other) for value in values]
        segments = pa.table({"user_id": users["user_id"], "segment": pa.array(chosen, pa.string())})
    return ParseContext(
        source=source,
        key=key,
        lateness_days=lateness_days,
        landing=landing,
        items=read_items(landing, source),
        user_segments=segments,
        erased=erased_pseudonyms(privacy_folder),
    )
