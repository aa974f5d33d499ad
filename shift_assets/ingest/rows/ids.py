"""Delivered ids: which values are ids at all, and the pseudonyms of user ids."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.arrays import BoolArray
from shift_assets.ingest.readers.byte_arrays import bytes_of
from shift_assets.ingest.readers.row_batch import Kind

ID_CAP_BYTES = 1024


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


_INTEGRAL = r"^-?[0-9]+(?:\.0+)?$"


@dataclass(frozen=True, slots=True)
class IdProblem:
    """Why delivered values are no ids. `reason` None: they are missing, and the column says of what."""

    reason: str | None
    detail: str


_MISSING = IdProblem(None, "is not delivered or blank")


_CONTROL_CHARACTER = IdProblem("bad_value", "contains a control character")


_TOO_LONG = IdProblem("too_long", f"is longer than {ID_CAP_BYTES} bytes")


_KIND_PROBLEMS = (
    (Kind.BOOLEAN, IdProblem("bad_value", "is true or false, not an id")),
    (Kind.CONTAINER, IdProblem("bad_value", "is a list or object, not an id")),
)


_NOT_INTEGRAL = IdProblem("bad_value", "is a number but no integer")


def validate_id(text: str) -> str | IdProblem:
    """A delivered id, NFC-normalised, or what is wrong with it; spaces around it belong to it."""
    if not text or text.isspace():
        return _MISSING
    if _CONTROL.search(text):
        return _CONTROL_CHARACTER
    if len(text.encode()) > ID_CAP_BYTES:
        return _TOO_LONG
    return unicodedata.normalize("NFC", text)


def validate_ids(texts: pa.Array, kinds: NDArray[np.uint8]) -> tuple[pa.Array, list[tuple[BoolArray, IdProblem]]]:
    """Ids as text, null where there is none; and which rows have which problem, the first of them counting.

    Integral numbers become their digits, of any length. Only distinct values that hold anything but visible ASCII
    are looked at one by one.
    """
    problems: list[tuple[BoolArray, IdProblem]] = []
    for kind, problem in _KIND_PROBLEMS:
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
    results = [validate_id(text) for text in encoded.dictionary.to_pylist()]
    index = np.asarray(pc.fill_null(encoded.indices, len(results)))
    for problem in (_MISSING, _CONTROL_CHARACTER, _TOO_LONG):
        wrong = np.array([result is problem for result in results] + [False])
        if wrong.any():
            problems.append((wrong[index], problem))
    ids = pa.array([None if isinstance(result, IdProblem) else result for result in results], pa.string())
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


def _digits(texts: pa.Array, kinds: NDArray[np.uint8], problems: list[tuple[BoolArray, IdProblem]]) -> pa.Array:
    """Integral numbers without their zero fraction; other numbers become a problem."""
    numbers = kinds == Kind.NUMBER
    if not numbers.any() or pc.all(pc.ascii_is_decimal(texts), min_count=0).as_py():
        return texts
    integral = np.asarray(pc.fill_null(pc.match_substring_regex(texts, _INTEGRAL), False))
    if (fractions := numbers & ~integral).any():
        problems.append((fractions, _NOT_INTEGRAL))
    shorter = pc.replace_substring_regex(texts, r"\.0+$", "")
    return pc.if_else(pa.array(numbers & integral), shorter, texts)
