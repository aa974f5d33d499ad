"""What the parser needs besides the file: built once, sent to every worker of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from shift_assets.ingest.rows.item_catalogue import ItemCatalogue
from shift_assets.ingest.rows.pseudonyms import Pseudonyms
from shift_assets.ingest.rows.segments import SegmentChooser
from shift_assets.ingest.source.config import Source


@dataclass(frozen=True)
class ParseContext:
    """Everything that a parsed row depends on besides its file. Picklable; its repr shows no secret.

    The cached lookups serve all files that a process parses, and are not pickled.

    Attributes:
        source: The source YAML.
        key: Key of the pseudonyms.
        lateness_days: Days by which an event may be late.
        landing: The landing folder.
        items: item_id, category, price, text (null where missing), one row per item.
        user_segments: user_id (pseudonym), segment, one row per user of the users table.
        erased: Pseudonyms of erased users; none of their rows is accepted.
    """

    source: Source
    key: bytes = field(repr=False)
    lateness_days: int
    landing: Path
    items: pa.Table | None = field(default=None, repr=False, compare=False)
    user_segments: pa.Table | None = field(default=None, repr=False, compare=False)
    erased: frozenset[str] = field(default=frozenset(), repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @cached_property
    def pseudonyms(self) -> Pseudonyms:
        return Pseudonyms(self.key)

    @cached_property
    def chooser(self) -> SegmentChooser:
        return SegmentChooser(self.source, self.user_segments)

    @cached_property
    def catalogue(self) -> ItemCatalogue | None:
        return None if self.items is None else ItemCatalogue(self.items)
