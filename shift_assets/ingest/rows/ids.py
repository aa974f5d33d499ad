"""Validate raw ids."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8

from shift_assets.arrays import BoolArray, UInt8Array
from shift_assets.ingest.readers.byte_arrays import bytes_of
from shift_assets.ingest.readers.row_batch import Kind, Rejection

ID_CAP_BYTES = 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_INTEGRAL = r"^-?[0-9]+(?:\.0+)?$"

MISSING_ID = Rejection("missing", "is not delivered or blank")
"""A missing id; which reason of the contract this is depends on the column."""
_CONTROL_CHARACTER = Rejection("bad_value", "contains a control character")
_TOO_LONG = Rejection("too_long", f"is longer than {ID_CAP_BYTES} bytes")
_WRONG_KINDS = (
    (Kind.BOOLEAN, Rejection("bad_value", "is true or false, not an id")),
    (Kind.CONTAINER, Rejection("bad_value", "is a list or object, not an id")),
)
_NOT_INTEGRAL = Rejection("bad_value", "is a number but no integer")


def validate_id(text: str) -> str | Rejection:
    """Return the NFC-normalised id, or why it is rejected. Surrounding spaces are part of an id.

    >>> validate_id("A 1")
    'A 1'
    >>> validate_id("a\\tb").reason
    'bad_value'
    """
    if not text or text.isspace():
        return MISSING_ID
    if _CONTROL.search(text):
        return _CONTROL_CHARACTER
    if len(text.encode()) > ID_CAP_BYTES:
        return _TOO_LONG
    return unicodedata.normalize("NFC", text)


def validate_ids(
    texts: pa.Array, kinds: UInt8[UInt8Array, " row"]
) -> tuple[pa.Array, list[tuple[BoolArray, Rejection]]]:
    """Validate a column of ids.

    Integral numbers become their digits, of any length. Only distinct values that contain anything but visible
    ASCII are checked one by one.

    Args:
        texts: The raw ids as text.
        kinds: The Kind of each value.

    Returns:
        The ids, null where there is none; and masks of rejected rows, of which the first that holds a row applies.
    """
    rejected: list[tuple[BoolArray, Rejection]] = []
    for kind, rejection in _WRONG_KINDS:
        if (rows := kinds == kind).any():
            rejected.append((rows, rejection))
    texts = _digits(texts, kinds, rejected)
    for rows, _ in rejected:
        texts = pc.if_else(pa.array(rows), pa.scalar(None, pa.string()), texts)
    if texts.null_count:
        rejected.append((np.asarray(texts.is_null()), MISSING_ID))
    if _visible_ascii(texts):
        return texts, rejected
    encoded = pc.dictionary_encode(texts)
    results = [validate_id(text) for text in encoded.dictionary.to_pylist()]
    index = np.asarray(pc.fill_null(encoded.indices, len(results)))
    for rejection in (MISSING_ID, _CONTROL_CHARACTER, _TOO_LONG):
        wrong = np.array([result is rejection for result in results] + [False])
        if wrong.any():
            rejected.append((wrong[index], rejection))
    ids = pa.array([None if isinstance(result, Rejection) else result for result in results], pa.string())
    return ids.take(encoded.indices), rejected


def _visible_ascii(texts: pa.Array) -> bool:
    """Whether all texts are 1 to 1024 bytes long and only contain `!` to `~`, so that none can be invalid."""
    if not len(texts) or texts.null_count == len(texts):
        return True
    _, codes, offsets = bytes_of(texts)
    codes = codes[offsets[0] :]
    lengths = np.diff(offsets)
    if texts.null_count:
        lengths = lengths[np.asarray(texts.is_valid())]
    plain = lengths.min() > 0 and lengths.max() <= ID_CAP_BYTES
    return bool(plain and codes.min() > ord(" ") and codes.max() < 127)


def _digits(texts: pa.Array, kinds: UInt8Array, rejected: list[tuple[BoolArray, Rejection]]) -> pa.Array:
    """Return integral numbers without their zero fraction; add other numbers to `rejected`."""
    numbers = kinds == Kind.NUMBER
    if not numbers.any() or pc.all(pc.ascii_is_decimal(texts), min_count=0).as_py():
        return texts
    integral = np.asarray(pc.fill_null(pc.match_substring_regex(texts, _INTEGRAL), False))
    if (fractions := numbers & ~integral).any():
        rejected.append((fractions, _NOT_INTEGRAL))
    shorter = pc.replace_substring_regex(texts, r"\.0+$", "")
    return pc.if_else(pa.array(numbers & integral), shorter, texts)
