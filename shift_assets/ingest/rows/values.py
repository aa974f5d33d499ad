"""Delivered values to typed ones, on whole columns: text, numbers, timestamps.

A value that cannot be typed becomes null and is marked; a value that was not delivered becomes null unmarked.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shift_assets.arrays import BoolArray
from shift_assets.ingest.readers.row_batch import Kind

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


NULL_TEXT = pa.scalar(None, pa.string())


def null_mask(array: pa.Array) -> BoolArray:
    return np.asarray(array.is_null())


def true_mask(array: pa.Array) -> BoolArray:
    """A boolean array as mask, null as False."""
    return np.asarray(pc.fill_null(array, False))


def as_text(array: pa.Array) -> tuple[pa.Array, NDArray[np.uint8]]:
    """Any delivered column as text, with the Kind of each value.

    Integral floats are written as integers. Times are ISO 8601; nested values have kind CONTAINER and no text.
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
    """Empty and all-space texts as null; others untouched."""
    empty = pc.equal(pc.binary_length(texts), 0)
    first_odd = pc.match_substring_regex(texts, r"^\s+$") if _any_starts_with_space(texts) else empty
    blank = pc.fill_null(pc.or_(empty, first_odd), False)
    return pc.if_else(blank, NULL_TEXT, texts) if pc.any(blank).as_py() else texts


def _any_starts_with_space(texts: pa.Array) -> bool:
    return bool(pc.any(pc.utf8_is_space(pc.utf8_slice_codeunits(texts, 0, 1))).as_py())


def to_double(values: pa.Array) -> tuple[pa.Array, BoolArray]:
    """Numbers as doubles, and which are no finite number. Numeric texts count, blank ones are null."""
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
