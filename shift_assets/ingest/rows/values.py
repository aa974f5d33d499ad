"""Convert columns of raw values to text and numbers.

A value that cannot be converted becomes null and is marked; a missing value becomes null without a mark.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, UInt8

from shift_assets.arrays import BoolArray, UInt8Array
from shift_assets.ingest.readers.row_batch import Kind

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"

NULL_TEXT = pa.scalar(None, pa.string())


def null_mask(array: pa.Array) -> Bool[BoolArray, " row"]:
    """Return which values are null."""
    return np.asarray(array.is_null())


def true_mask(array: pa.Array) -> Bool[BoolArray, " row"]:
    """Return which values of a boolean array are true; null counts as false."""
    return np.asarray(pc.fill_null(array, False))


def as_text(array: pa.Array) -> tuple[pa.Array, UInt8[UInt8Array, " row"]]:
    """Return a raw column as text, with the Kind of each value.

    Integral floats are written as integers and times as ISO 8601; nested values are CONTAINER and have no text.

    >>> as_text(pa.array([2.0, 0.5]))[0].to_pylist()
    ['2', '0.5']
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_text(array.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts, text_kind = array.cast(pa.string()), Kind.TEXT
    elif pa.types.is_integer(kind):
        texts, text_kind = array.cast(pa.string()), Kind.NUMBER
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        texts, text_kind = _number_text(array), Kind.NUMBER
    elif pa.types.is_boolean(kind):
        texts, text_kind = array.cast(pa.string()), Kind.BOOLEAN
    elif pa.types.is_temporal(kind):
        texts, text_kind = array.cast(pa.string()), Kind.TEXT
    elif pa.types.is_null(kind):
        texts, text_kind = pa.nulls(len(array), pa.string()), Kind.NULL
    else:
        texts, text_kind = pa.nulls(len(array), pa.string()), Kind.CONTAINER
    return texts, np.where(null_mask(array), Kind.NULL, text_kind).astype(np.uint8)


def _number_text(array: pa.Array) -> pa.Array:
    def text(value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() else repr(value)
        return format(value, "f")

    return pa.array([text(value) for value in array.to_pylist()], pa.string())


def blank_to_null(texts: pa.Array) -> pa.Array:
    """Return the texts with empty and all-space ones as null."""
    empty = pc.equal(pc.binary_length(texts), 0)
    first_odd = pc.match_substring_regex(texts, r"^\s+$") if _any_starts_with_space(texts) else empty
    blank = pc.fill_null(pc.or_(empty, first_odd), False)
    return pc.if_else(blank, NULL_TEXT, texts) if pc.any(blank).as_py() else texts


def _any_starts_with_space(texts: pa.Array) -> bool:
    return bool(pc.any(pc.utf8_is_space(pc.utf8_slice_codeunits(texts, 0, 1))).as_py())


def to_double(values: pa.Array) -> tuple[pa.Array, Bool[BoolArray, " row"]]:
    """Return numbers and numeric texts as doubles (blank ones null), and which values are no finite number."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        numbers, bad = pc.cast(values, pa.float64(), safe=False), np.zeros(len(values), dtype=bool)
    else:
        texts, kinds = as_text(values)
        texts = blank_to_null(texts)
        numeric = pc.match_substring_regex(texts, _NUMBER)
        plain = pc.if_else(numeric, texts, NULL_TEXT)
        numbers = _parse_doubles(plain)
        bad = ~true_mask(pc.fill_null(numeric, True)) | (kinds == Kind.CONTAINER)
    finite = pc.fill_null(pc.is_finite(numbers), True)
    bad |= ~true_mask(finite)
    return pc.if_else(pa.array(bad), pa.scalar(None, pa.float64()), numbers), bad


def _parse_doubles(texts: pa.Array) -> pa.Array:
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return pa.array([None if text is None else float(text) for text in texts.to_pylist()], pa.float64())
