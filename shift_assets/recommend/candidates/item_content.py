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
from jaxtyping import Float32

from shift_assets.arrays import Float32Array
from shift_assets.ingest.categories.text_vectorizer import TextVectorizer, svd_components
from shift_assets.models.data.sequences import Vocabulary

DIMENSIONS = 128
SVD_ITERATIONS = 4


USER_TEXT_BEHAVIORS = pa.array(["rating", "review"])
"""Behaviours whose text is the user's own words, not the item's."""


@dataclass(frozen=True)
class TextSpace:
    """A vector space of texts: TF-IDF weights, projected by `components` where there are more than DIMENSIONS terms."""

    vectorizer: TextVectorizer
    components: Float32[Float32Array, "dimension term"]

    @classmethod
    def of(cls, documents: Sequence[Sequence[str]], seed: int) -> TextSpace:
        """Fit the space of `documents`, lists of terms; a term of one document only is left out."""
        vectorizer, weights = TextVectorizer.fit_transform(documents, minimum_documents=2)
        if min(weights.shape) <= DIMENSIONS:
            return cls(vectorizer, np.eye(len(vectorizer.vocabulary), dtype=np.float32))
        return cls(vectorizer, svd_components(weights.astype(np.float32), DIMENSIONS, seed, iterations=SVD_ITERATIONS))

    def vectors(self, documents: Sequence[Sequence[str]]) -> Float32Array:
        """Return unit vectors [document, dimension]; zero for a document without a known term."""
        weights = self.vectorizer.tfidf(documents).astype(np.float32)
        return unit_rows(np.asarray(weights @ self.components.T, dtype=np.float32))


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
