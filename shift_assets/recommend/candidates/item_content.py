"""Item vectors from text, category and price (TF-IDF and truncated SVD), or from an external model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

from shift_assets.arrays import Float32Array
from shift_assets.models.data.sequences import Vocabulary

DIMENSIONS = 128


USER_TEXT_BEHAVIORS = pa.array(["rating", "review"])
"""Behaviours whose text is the user's own words, not the item's."""


@dataclass(frozen=True)
class TextSpace:
    """A space in which texts that speak of the same things lie close; `project` [term, dimension]."""

    positions: dict[str, int]
    idf: Float32Array
    project: Float32Array

    @classmethod
    def of(cls, documents: Sequence[Sequence[str]], seed: int) -> TextSpace:
        """The space of `documents`, lists of terms; a term of one document relates it to no other and is left out."""
        from sklearn.decomposition import TruncatedSVD
        from threadpoolctl import threadpool_limits

        found, counts = np.unique([t for document in documents for t in set(document)], return_counts=True)
        shared_terms = counts > 1
        positions = {str(term): position for position, term in enumerate(found[shared_terms])}
        idf = (1 + np.log((1 + len(documents)) / (1 + counts[shared_terms]))).astype(np.float32)
        whole = cls(positions, idf, np.eye(0, dtype=np.float32))
        weights = whole._weights(documents)
        if min(weights.shape) <= DIMENSIONS:
            return cls(positions, idf, np.eye(len(positions), dtype=np.float32))
        # One thread: the sums, and so the vectors, must not depend on how many cores there are.
        with threadpool_limits(limits=1, user_api="blas"):
            model = TruncatedSVD(DIMENSIONS, n_iter=4, random_state=seed).fit(weights)
        return cls(positions, idf, np.asarray(model.components_.T, dtype=np.float32))

    def vectors(self, documents: Sequence[Sequence[str]]) -> Float32Array:
        """Unit vectors [document, dimension]; zero for a document without a known term."""
        return unit_rows(np.asarray(self._weights(documents) @ self.project, dtype=np.float32))

    def _weights(self, documents: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        rows = [row for row, document in enumerate(documents) for term in document if term in self.positions]
        columns = [self.positions[term] for document in documents for term in document if term in self.positions]
        counts = sparse.csr_matrix(
            (np.ones(len(rows), np.float32), (rows, columns)), shape=(len(documents), len(self.positions))
        )
        counts.data = (1 + np.log(counts.data)) * self.idf[counts.indices]
        length = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        return (sparse.diags(1 / np.maximum(length, np.finfo(np.float32).tiny)) @ counts).tocsr().astype(np.float32)


@dataclass(frozen=True)
class Content:
    """The items of a vocabulary as unit vectors, [item, dimension] each, zero where nothing is known.

    `text_vectors`: by their words, in `space`, where texts of users lie too. `vectors`: what tells most of an item; the
    delivered vectors where there are any, else `text_vectors`.
    """

    vectors: Float32Array
    text_vectors: Float32Array
    space: TextSpace

    @classmethod
    def of(
        cls, events: pa.Table, vocabulary: Vocabulary, *, items: pa.Table | None, external: pa.Table | None, seed: int
    ) -> Content:
        """`events`: clean_events; `items`: item_id, category, price, text of the items table, which fills gaps.

        `external`: item_id and vector (list of numbers), of any model. Raises ValueError where the vectors differ in
        length.
        """
        texts = _last_known(
            events.filter(pc.invert(pc.is_in(events["behavior"], USER_TEXT_BEHAVIORS))), items, "text", vocabulary
        )
        prices = _last_known(events, items, "price", vocabulary)
        known = np.array([price for price in prices if price is not None and price > 0])
        levels = np.unique(np.quantile(known, np.arange(1, 8) / 8)) if len(known) else known
        documents = [
            _words(text)
            + ([f"category {vocabulary.categories[category - 1]}"] if category else [])
            + ([] if price is None or price <= 0 else [f"price {np.searchsorted(levels, price)}"])
            for text, category, price in zip(texts, vocabulary.item_categories[1:], prices, strict=True)
        ]
        space = TextSpace.of(documents, seed)
        text_vectors = space.vectors(documents)
        return cls(text_vectors if external is None else _external_vectors(external, vocabulary), text_vectors, space)

    def embed_texts(self, texts: Sequence[str | None], categories: Sequence[str | None]) -> Float32Array:
        """Unit vectors, in the space of `text_vectors`, of what users wrote or a signal names."""
        return self.space.vectors(
            [
                _words(text) + ([f"category {category}"] if category else [])
                for text, category in zip(texts, categories, strict=True)
            ]
        )


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Rows at length 1; a row of zeros stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-4), dtype=np.float32)


def cosine_scores(profiles: Float32Array, vectors: Float32Array) -> Float32Array:
    """Cosine [user, item] of `profiles[user, dimension]` to the items' unit `vectors`; 0 where it is negative."""
    return np.asarray(np.maximum(unit_rows(profiles) @ vectors.T, 0), dtype=np.float32)


def read_item_vectors(path: Path) -> pa.Table:
    """The delivered vectors of items, columns item_id and vector; raises ValueError where the file has others."""
    table = pq.read_table(path)
    if not {"item_id", "vector"} <= set(table.column_names):
        raise ValueError(f"{path}: expected columns item_id and vector, found {', '.join(table.column_names)}")
    return table.select(["item_id", "vector"])


def _words(text: str | None) -> list[str]:
    from shift_assets.ingest.categories.item_terms import terms

    return terms(text) if text else []


def _last_known(events: pa.Table, items: pa.Table | None, column: str, vocabulary: Vocabulary) -> list[Any]:
    """`column` of every item of the vocabulary: of its newest event that tells it, or of the items table, or None."""
    found: list[Any] = [None] * len(vocabulary.items)
    if items is not None and column in items.column_names:
        for code, value in zip(vocabulary.item_codes(items["item_id"]), items[column].to_pylist(), strict=True):
            if code and value is not None:
                found[code - 1] = value
    valid = events.filter(pc.is_valid(events[column])).select(["item_id", "event_ts", "event_id", column])
    codes = vocabulary.item_codes(valid["item_id"])
    instants = pc.cast(valid["event_ts"], pa.int64()).to_numpy()
    newest = np.full(len(found) + 1, np.iinfo(np.int64).min)
    np.maximum.at(newest, codes, instants)
    # Equal instants are told apart by the digest: the order of the rows has no say.
    last = valid.take(pa.array(np.flatnonzero((instants == newest[codes]) & (codes > 0)))).sort_by("event_id")
    for code, value in zip(vocabulary.item_codes(last["item_id"]), last[column].to_pylist(), strict=True):
        found[code - 1] = value
    return found


def _external_vectors(table: pa.Table, vocabulary: Vocabulary) -> Float32Array:
    lengths = pc.unique(pc.list_value_length(table["vector"])).to_pylist()
    if len(lengths) > 1:
        raise ValueError(f"item vectors of different lengths: {', '.join(map(str, sorted(lengths)))}")
    out = np.zeros((len(vocabulary.items), lengths[0] if lengths else 0), dtype=np.float32)
    values = np.array(table["vector"].to_pylist(), dtype=np.float32).reshape(table.num_rows, -1)
    codes = vocabulary.item_codes(table["item_id"])
    out[codes[codes > 0] - 1] = values[codes > 0]
    return unit_rows(out)
