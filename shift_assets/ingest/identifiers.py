"""Delivered ids: which are ids at all, and what pseudonym and segment a user id has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.ingest.rows import Kind

ID_CAP_BYTES = 1024
CACHE_ENTRIES = 1_000_000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_INTEGRAL = r"^(-?[0-9]+)(?:\.0+)?$"

Known = TypeVar("Known")


@dataclass(frozen=True, slots=True)
class IdProblem:
    """Why a delivered value is no id. `reason` None: it is missing, and the caller's column says of what."""

    reason: str | None
    detail: str


_MISSING = IdProblem(None, "not delivered or blank")
_CONTROL_CHARACTER = IdProblem("bad_value", "contains a control character")
_TOO_LONG = IdProblem("too_long", f"longer than {ID_CAP_BYTES} bytes")
_BY_KIND = {
    Kind.NUMBER: IdProblem("bad_value", "is a number but no integer"),
    Kind.BOOLEAN: IdProblem("bad_value", "is true or false, not an id"),
    Kind.CONTAINER: IdProblem("bad_value", "is a list or object, not an id"),
}


def checked_id(text: str) -> str | IdProblem:
    """A delivered id, NFC-normalised, or what is wrong with it; surrounding spaces belong to it."""
    if not text or text.isspace():
        return _MISSING
    if _CONTROL.search(text):
        return _CONTROL_CHARACTER
    if len(text.encode()) > ID_CAP_BYTES:
        return _TOO_LONG
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@dataclass
class IdTable(Generic[Known]):
    """What is known of each distinct id, computed once.

    `describe` makes it from a checked id. Kept for at most a million ids, so that memory stays bounded.
    """

    describe: Callable[[str], Known]
    _known: dict[str, Known | IdProblem] = field(default_factory=dict)

    def look_up(self, texts: pa.Array, kinds: NDArray[np.uint8]) -> tuple[NDArray[np.int32], list[Known | IdProblem]]:
        """For each row an index into the answers that follow: what is known of its id, or its problem."""
        texts, wrong = _id_texts(texts, kinds)
        encoded = pc.dictionary_encode(texts)
        answers: list[Known | IdProblem] = [self._of(text) for text in encoded.dictionary.to_pylist()]
        missing = len(answers)
        answers.append(_MISSING)
        index = np.array(pc.fill_null(encoded.indices, missing), dtype=np.int32)
        for kind, rows in wrong.items():
            index[rows] = len(answers)
            answers.append(_BY_KIND[kind])
        return index, answers

    def _of(self, text: str) -> Known | IdProblem:
        known = self._known.get(text)
        if known is None:
            checked = checked_id(text)
            known = checked if isinstance(checked, IdProblem) else self.describe(checked)
            if len(self._known) >= CACHE_ENTRIES:
                self._known.clear()
            self._known[text] = known
        return known


def _id_texts(texts: pa.Array, kinds: NDArray[np.uint8]) -> tuple[pa.Array, dict[Kind, NDArray[np.bool_]]]:
    """Ids as text, integral numbers as their digits; and the rows whose kind is none of an id."""
    wrong = {kind: rows for kind in (Kind.BOOLEAN, Kind.CONTAINER) if (rows := kinds == kind).any()}
    numbers = kinds == Kind.NUMBER
    if numbers.any() and not pc.all(pc.ascii_is_decimal(texts), min_count=0).as_py():
        integral = np.asarray(pc.fill_null(pc.match_substring_regex(texts, _INTEGRAL), False))
        fractional = numbers & ~integral
        if fractional.any():
            wrong[Kind.NUMBER] = fractional
        digits = pc.replace_substring_regex(texts, r"^(-?[0-9]+)\.0+$", r"\1")
        texts = pc.if_else(pa.array(numbers & integral), digits, texts)
    return texts, wrong
