"""Choose the segment of each parsed row."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from shift_assets.arrays import BoolArray, Int64Array
from shift_assets.ingest.readers.byte_arrays import bytes_of
from shift_assets.ingest.readers.row_batch import RowBatch
from shift_assets.ingest.rows.values import as_text
from shift_assets.ingest.source.config import Segments, Source

_ROW_STRIDE = 2_654_435_761
"""Knuth's multiplicative hash constant: spreads consecutive rows over the segments."""


def hashed_segments(keys: tuple[str, ...], path: str, numbers: Int64[Int64Array, " row"]) -> list[str]:
    """Return segments for rows without a known user: a stable hash of file path and row number."""
    start = int(hashlib.sha256(path.encode()).hexdigest()[:8], 16)
    index = ((start + numbers.astype(np.uint64) * _ROW_STRIDE) % 2**32 * len(keys)) >> 32
    return [keys[i] for i in index.tolist()]


def segments_of_values(segments: Segments, values: pa.Array) -> pa.Array:
    """Return the segment of each value of the column that the source segments users by."""
    return _map_texts(values, segments.segment_by_value, segments.keys[-1])


class SegmentChooser:
    """Chooses segments by the hash of the pseudonym, by a column of the event, or by the users table."""

    def __init__(self, source: Source, user_segments: pa.Table | None) -> None:
        self._segments, self._keys = source.segments, source.segment_keys
        self._segment_by_user: dict[str, str] = {}
        if user_segments is not None:
            self._segment_by_user = dict(
                zip(user_segments["user_id"].to_pylist(), user_segments["segment"].to_pylist(), strict=True)
            )

    def segments(self, rows: RowBatch, path: str, pseudonyms: pa.Array, known: Bool[BoolArray, " row"]) -> pa.Array:
        """Return the segment of each row; rows without a `known` user get one by hash of file and row."""
        if self._segments.table == "events":
            texts, _ = as_text(rows.columns[self._segments.column or ""])
            chosen = segments_of_values(self._segments, texts)
        elif self._segments.table == "users":
            chosen = _map_texts(pseudonyms, self._segment_by_user, self._keys[-1])
        else:
            shards = _leading_32_bits(pseudonyms) % len(self._keys)
            chosen = pa.array(self._keys, pa.string()).take(pa.array(shards))
        unknown = np.flatnonzero(~known)
        if not len(unknown):
            return chosen
        hashed = hashed_segments(self._keys, path, rows.numbers[unknown])
        return pc.replace_with_mask(chosen, pa.array(~known), pa.array(hashed, pa.string()))


def _map_texts(texts: pa.Array, names: dict[str, str], other: str) -> pa.Array:
    encoded = pc.dictionary_encode(texts)
    mapped = [names.get(text, other) for text in encoded.dictionary.to_pylist()]
    return pc.fill_null(pa.array(mapped, pa.string()).take(encoded.indices), other)


def _leading_32_bits(pseudonyms: pa.Array) -> Int64Array:
    """Return the number given by the first 8 hex characters of each pseudonym; 0 where there is none."""
    numbers = np.zeros(len(pseudonyms), dtype=np.int64)
    present = pseudonyms.drop_null()
    if len(present):
        _, codes, offsets = bytes_of(present)
        digits = codes[offsets[:-1, None] + np.arange(8)].astype(np.int64)
        digits -= np.where(digits >= ord("a"), ord("a") - 10, ord("0"))
        numbers[np.asarray(pseudonyms.is_valid())] = digits @ (16 ** np.arange(7, -1, -1))
    return numbers
