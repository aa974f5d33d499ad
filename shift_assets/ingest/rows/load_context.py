"""Build the parse context of an installation from its source, landing folder and privacy folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from shift_assets.ingest.rows.lookup_tables import read_items, read_users
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.segments import segments_of_values
from shift_assets.ingest.source.config import Source
from shift_assets.privacy.erased_users import erased_pseudonyms
from shift_assets.privacy.pseudonym import load_key


def load_parse_context(source: Source, landing: Path, privacy_folder: Path, lateness_days: int) -> ParseContext:
    """Load everything that the parser needs: the key, the erased users, and the items and users tables.

    Args:
        source: The source YAML.
        landing: The landing folder, with the items and users tables.
        privacy_folder: Holds the pseudonym key, which is created if missing, and the list of erased users.
        lateness_days: Days by which an event may be late.

    Raises:
        ConfigError: The pseudonym key is malformed.
    """
    key = load_key(privacy_folder)
    users = read_users(landing, source, key)
    segments = None
    if source.segments.table == "users" and users is not None:
        values = users[source.segments.column or ""].combine_chunks()
        segments = pa.table({"user_id": users["user_id"], "segment": segments_of_values(source.segments, values)})
    return ParseContext(
        source=source,
        key=key,
        lateness_days=lateness_days,
        landing=landing,
        items=read_items(landing, source),
        user_segments=segments,
        erased=erased_pseudonyms(privacy_folder),
    )
