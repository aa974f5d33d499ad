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
from shift_assets.errors import UserError
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
    """The items of a vocabulary as unit vectors, zero for an item without content.

    Attributes:
        vectors: External vectors where there are any, else the text vectors.
        text_vectors: By their texts, in `space`.
        space: Vector space of the items' and the users' texts.
    """

    vectors: Float32[Float32Array, "item dimension"]
    text_vectors: Float32[Float32Array, "item text_dimension"]
    space: TextSpace

    @classmethod
    def of(
        cls, events: pa.Table, vocabulary: Vocabulary, *, items: pa.Table | None, external: pa.Table | None, seed: int
    ) -> Content:
        """Embed the items.

        Args:
            events: Rows of clean_events, whose texts and prices come first.
            vocabulary: Items and categories.
            items: The items table, columns item_id, category, price and text; fills gaps.
            external: Columns item_id and vector (list of numbers), of any model.
            seed: Seed of the singular value decomposition.

        Raises:
            UserError: The external vectors differ in length.
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
        """Unit vectors [text, dimension], in the space of `text_vectors`, of texts and categories of users' signals."""
        return self.space.vectors(
            [
                _words(text) + ([f"category {category}"] if category else [])
                for text, category in zip(texts, categories, strict=True)
            ]
        )


def unit_rows(vectors: Float32[Float32Array, "row dimension"]) -> Float32[Float32Array, "row dimension"]:
    """Rows scaled to length 1; a row of zeros stays.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).round(1).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-4), dtype=np.float32)


def cosine_scores(
    profiles: Float32[Float32Array, "user dimension"], vectors: Float32[Float32Array, "item dimension"]
) -> Float32[Float32Array, "user item"]:
    """Cosine of the users' `profiles` to the items' unit `vectors`; 0 where it is negative."""
    return np.asarray(np.maximum(unit_rows(profiles) @ vectors.T, 0), dtype=np.float32)


def read_item_vectors(path: Path) -> pa.Table:
    """Read a Parquet file of item vectors, columns item_id and vector.

    Raises:
        UserError: The file does not have these columns.
    """
    table = pq.read_table(path)
    if not {"item_id", "vector"} <= set(table.column_names):
        raise UserError(f"{path}: expected columns item_id and vector, found {', '.join(table.column_names)}")
    return table.select(["item_id", "vector"])


def _words(text: str | None) -> list[str]:
    from shift_assets.ingest.categories.item_terms import terms

    return terms(text) if text else []


def _last_known(events: pa.Table, items: pa.Table | None, column: str, vocabulary: Vocabulary) -> list[Any]:
    """`column` of every item: from its newest event that has a value, else from the items table, else None."""
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
    # Ties in time are broken by the digest, so that the order of the rows does not matter.
    last = valid.take(pa.array(np.flatnonzero((instants == newest[codes]) & (codes > 0)))).sort_by("event_id")
    for code, value in zip(vocabulary.item_codes(last["item_id"]), last[column].to_pylist(), strict=True):
        found[code - 1] = value
    return found


def _external_vectors(table: pa.Table, vocabulary: Vocabulary) -> Float32Array:
    lengths = pc.unique(pc.list_value_length(table["vector"])).to_pylist()
    if len(lengths) > 1:
        raise UserError(
            f"recommendations.item_vectors: vectors of different lengths: {', '.join(map(str, sorted(lengths)))}; "
            "deliver those of one model"
        )
    out = np.zeros((len(vocabulary.items), lengths[0] if lengths else 0), dtype=np.float32)
    values = np.array(table["vector"].to_pylist(), dtype=np.float32).reshape(table.num_rows, -1)
    codes = vocabulary.item_codes(table["item_id"])
    out[codes[codes > 0] - 1] = values[codes > 0]
    return unit_rows(out)
