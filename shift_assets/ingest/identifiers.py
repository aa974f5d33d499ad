"""Delivered ids: which values are ids at all, and the pseudonyms of user ids."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.ingest.rows import Kind, bytes_of
from shift_assets.privacy.pseudonym import pseudonym

ID_CAP_BYTES = 1024
CACHE_ENTRIES = 1_000_000
"""Pseudonyms remembered at most (about 150 MB)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CANDIDATES = (
    re.compile(r"\w+"),
    re.compile(r"[^\s\"',;|:{}\[\]()<>=&]+"),
    re.compile(r"[^,;|\t\r\n]+"),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
)
"""Where an id may stand in a row that cannot be read: a word, between signs, a field, a quoted text."""
_INTEGRAL = r"^-?[0-9]+(?:\.0+)?$"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class IdProblem:
    """Why delivered values are no ids. `reason` None: they are missing, and the column says of what."""

    reason: str | None
    detail: str


_MISSING = IdProblem(None, "is not delivered or blank")
_CONTROL_CHARACTER = IdProblem("bad_value", "contains a control character")
_TOO_LONG = IdProblem("too_long", f"is longer than {ID_CAP_BYTES} bytes")
_BY_KIND = (
    (Kind.BOOLEAN, IdProblem("bad_value", "is true or false, not an id")),
    (Kind.CONTAINER, IdProblem("bad_value", "is a list or object, not an id")),
)
_FRACTION = IdProblem("bad_value", "is a number but no integer")


def checked_id(text: str) -> str | IdProblem:
    """A delivered id, NFC-normalised, or what is wrong with it; spaces around it belong to it."""
    if not text or text.isspace():
        return _MISSING
    if _CONTROL.search(text):
        return _CONTROL_CHARACTER
    if len(text.encode()) > ID_CAP_BYTES:
        return _TOO_LONG
    return unicodedata.normalize("NFC", text)


def checked_ids(texts: pa.Array, kinds: NDArray[np.uint8]) -> tuple[pa.Array, list[tuple[Mask, IdProblem]]]:
    """Ids as text, null where there is none; and which rows have which problem, the first of them counting.

    Integral numbers become their digits, of any length. Only distinct values that hold anything but visible ASCII
    are looked at one by one.
    """
    problems: list[tuple[Mask, IdProblem]] = []
    for kind, problem in _BY_KIND:
        if (rows := kinds == kind).any():
            problems.append((rows, problem))
    texts = _digits(texts, kinds, problems)
    for rows, _ in problems:
        texts = pc.if_else(pa.array(rows), pa.scalar(None, pa.string()), texts)
    if texts.null_count:
        problems.append((np.asarray(texts.is_null()), _MISSING))
    if _visible_ascii(texts):
        return texts, problems
    encoded = pc.dictionary_encode(texts)
    answers = [checked_id(text) for text in encoded.dictionary.to_pylist()]
    index = np.asarray(pc.fill_null(encoded.indices, len(answers)))
    for problem in (_MISSING, _CONTROL_CHARACTER, _TOO_LONG):
        wrong = np.array([answer is problem for answer in answers] + [False])
        if wrong.any():
            problems.append((wrong[index], problem))
    ids = pa.array([None if isinstance(answer, IdProblem) else answer for answer in answers], pa.string())
    return ids.take(encoded.indices), problems


def _visible_ascii(texts: pa.Array) -> bool:
    """Whether all are texts of 1 to 1024 bytes from `!` to `~`: nothing in them can be wrong."""
    if not len(texts) or texts.null_count == len(texts):
        return True
    _, codes, offsets = bytes_of(texts)
    codes = codes[offsets[0] :]
    lengths = np.diff(offsets)
    if texts.null_count:
        lengths = lengths[np.asarray(texts.is_valid())]
    plain = lengths.min() > 0 and lengths.max() <= ID_CAP_BYTES
    return bool(plain and codes.min() > ord(" ") and codes.max() < 127)


def _digits(texts: pa.Array, kinds: NDArray[np.uint8], problems: list[tuple[Mask, IdProblem]]) -> pa.Array:
    """Integral numbers without their zero fraction; other numbers become a problem."""
    numbers = kinds == Kind.NUMBER
    if not numbers.any() or pc.all(pc.ascii_is_decimal(texts), min_count=0).as_py():
        return texts
    integral = np.asarray(pc.fill_null(pc.match_substring_regex(texts, _INTEGRAL), False))
    if (fractions := numbers & ~integral).any():
        problems.append((fractions, _FRACTION))
    shorter = pc.replace_substring_regex(texts, r"\.0+$", "")
    return pc.if_else(pa.array(numbers & integral), shorter, texts)


class Pseudonyms(dict[str, str]):
    """Pseudonym of each checked user id, made once."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, delivered_id: str) -> str:
        if len(self) >= CACHE_ENTRIES:
            self.clear()
        made = self[delivered_id] = pseudonym(self._key, delivered_id)
        return made

    def of(self, ids: pa.Array) -> pa.Array:
        """Pseudonyms of checked ids; null where there is no id."""
        encoded = pc.dictionary_encode(ids)
        names = pa.array(list(map(self.__getitem__, encoded.dictionary.to_pylist())), pa.string())
        return names.take(encoded.indices)


def tells_of(raw: bytes, key: bytes, pseudonyms: Collection[str]) -> bool:
    """Whether delivered bytes that cannot be read as a row hold the id of one of `pseudonyms`.

    The ids themselves are not known any more, so the pseudonym of everything that may be one is made.
    """
    text = raw.decode(errors="replace")
    candidates = {found for form in _CANDIDATES for found in form.findall(text)}
    for quoted in [found for found in candidates if found.startswith('"')]:
        candidates.add(quoted.strip('"'))
        with suppress(ValueError):
            candidates.add(str(json.loads(quoted)).encode(errors="replace").decode())  # half a surrogate
    candidates |= {candidate.strip() for candidate in candidates}
    return any(pseudonym(key, candidate) in pseudonyms for candidate in candidates)
