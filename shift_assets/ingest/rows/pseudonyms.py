"""Pseudonyms of whole columns of user ids, and the search for a user's id in bytes that no reader can split."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.privacy.pseudonym import pseudonym

CACHE_ENTRIES = 1_000_000
"""Pseudonyms remembered at most (about 150 MB)."""


_ID_PATTERNS = (
    re.compile(r"\w+"),
    re.compile(r"[^\s\"',;|:{}\[\]()<>=&]+"),
    re.compile(r"[^,;|\t\r\n]+"),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
)
"""Where an id may stand in a row that cannot be read: a word, between signs, a field, a quoted text."""


class Pseudonyms(dict[str, str]):
    """Pseudonym of each checked user id, made once."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, raw_id: str) -> str:
        if len(self) >= CACHE_ENTRIES:
            self.clear()
        made = self[raw_id] = pseudonym(self._key, raw_id)
        return made

    def lookup(self, ids: pa.Array) -> pa.Array:
        """Pseudonyms of checked ids; null where there is no id."""
        encoded = pc.dictionary_encode(ids)
        names = pa.array(list(map(self.__getitem__, encoded.dictionary.to_pylist())), pa.string())
        return names.take(encoded.indices)


def contains_user(raw: bytes, key: bytes, pseudonyms: Collection[str]) -> bool:
    """Whether delivered bytes that cannot be read as a row hold the id of one of `pseudonyms`.

    The ids themselves are not known any more, so the pseudonym of everything that may be one is made.
    """
    text = raw.decode(errors="replace")
    candidates = {found for pattern in _ID_PATTERNS for found in pattern.findall(text)}
    for quoted in [found for found in candidates if found.startswith('"')]:
        candidates.add(quoted.strip('"'))
        with suppress(ValueError):
            candidates.add(str(json.loads(quoted)).encode(errors="replace").decode())  # half a surrogate
    candidates |= {candidate.strip() for candidate in candidates}
    return any(pseudonym(key, candidate) in pseudonyms for candidate in candidates)
