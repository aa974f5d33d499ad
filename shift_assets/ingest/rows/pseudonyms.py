"""Pseudonymise columns of user ids, and search for a user's id in bytes that cannot be split into columns."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from shift_assets.privacy.pseudonym import pseudonym

CACHE_ENTRIES = 1_000_000
"""Maximum number of cached pseudonyms (about 150 MB)."""

_ID_PATTERNS = (
    re.compile(r"\w+"),
    re.compile(r"[^\s\"',;|:{}\[\]()<>=&]+"),
    re.compile(r"[^,;|\t\r\n]+"),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
)
"""Where an id may be in an unreadable row: a word, text between separators, a field, a quoted text."""


class Pseudonyms(dict[str, str]):
    """Cache of the pseudonyms of validated user ids."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, raw_id: str) -> str:
        if len(self) >= CACHE_ENTRIES:
            self.clear()
        computed = self[raw_id] = pseudonym(self._key, raw_id)
        return computed

    def lookup(self, ids: pa.Array) -> pa.Array:
        """Return the pseudonym of each validated id; null where there is no id."""
        encoded = pc.dictionary_encode(ids)
        names = pa.array(list(map(self.__getitem__, encoded.dictionary.to_pylist())), pa.string())
        return names.take(encoded.indices)


def contains_user(raw: bytes, key: bytes, pseudonyms: Collection[str]) -> bool:
    """Return whether the bytes of an unreadable row contain the id of one of `pseudonyms`.

    The ids themselves are not stored, so the pseudonym of everything that may be an id is computed.

    Args:
        raw: The bytes of the row.
        key: Key of the pseudonyms.
        pseudonyms: The users to look for.
    """
    text = raw.decode(errors="replace")
    candidates = {match for pattern in _ID_PATTERNS for match in pattern.findall(text)}
    for quoted in [candidate for candidate in candidates if candidate.startswith('"')]:
        candidates.add(quoted.strip('"'))
        with suppress(ValueError):
            candidates.add(str(json.loads(quoted)).encode(errors="replace").decode())  # half a surrogate
    candidates |= {candidate.strip() for candidate in candidates}
    return any(pseudonym(key, candidate) in pseudonyms for candidate in candidates)
