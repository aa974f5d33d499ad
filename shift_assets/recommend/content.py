"""What items are like, and items like those that the user took: the way to a list for an item that nobody took yet.

An item is described by the terms of its text, its category and its price level, weighted by TF-IDF and brought to
`DIMENSIONS` by a truncated singular value decomposition (Deerwester et al., JASIS 41, 1990); or by vectors that
another model made of it. A user is the decayed sum of the vectors of what it took; the score is the cosine, times
sqrt(log(2 + users who took the item lately)).
"""

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

from shift_assets.models.sequences import Integers, Vocabulary
from shift_assets.recommend.neighbours import tastes
from shift_assets.recommend.popularity import popularity
from shift_assets.recommend.source import Fitted, Inputs, Scorer, Source
from shift_assets.recommend.window import Floats, Window

DIMENSIONS = 128
POPULAR_DAYS = 28
"""Days of the popularity that tells apart items equally alike: what is alike and never taken is mostly dead stock."""
OWN_TEXT = pa.array(["rating", "review"])
"""Behaviours whose text is the user's own words, not the item's."""


@dataclass(frozen=True)
class TextSpace:
    """A space in which texts that speak of the same things lie close; `project` [term, dimension]."""

    places: dict[str, int]
    rarity: Floats
    project: Floats

    @classmethod
    def of(cls, documents: Sequence[Sequence[str]], seed: int) -> TextSpace:
        """The space of `documents`, lists of terms; a term of one document relates it to no other and is left out."""
        from sklearn.decomposition import TruncatedSVD
        from threadpoolctl import threadpool_limits

        found, counts = np.unique([t for document in documents for t in set(document)], return_counts=True)
        kept = counts > 1
        places = {str(term): place for place, term in enumerate(found[kept])}
        rarity = (1 + np.log((1 + len(documents)) / (1 + counts[kept]))).astype(np.float32)
        whole = cls(places, rarity, np.eye(0, dtype=np.float32))
        weights = whole._weights(documents)
        if min(weights.shape) <= DIMENSIONS:
            return cls(places, rarity, np.eye(len(places), dtype=np.float32))
        # One thread: the sums, and so the vectors, must not depend on how many cores there are.
        with threadpool_limits(limits=1, user_api="blas"):
            model = TruncatedSVD(DIMENSIONS, n_iter=4, random_state=seed).fit(weights)
        return cls(places, rarity, np.asarray(model.components_.T, dtype=np.float32))

    def vectors(self, documents: Sequence[Sequence[str]]) -> Floats:
        """Unit vectors [document, dimension]; zero for a document without a known term."""
        return unit(np.asarray(self._weights(documents) @ self.project, dtype=np.float32))

    def _weights(self, documents: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        rows = [row for row, document in enumerate(documents) for term in document if term in self.places]
        columns = [self.places[term] for document in documents for term in document if term in self.places]
        counts = sparse.csr_matrix(
            (np.ones(len(rows), np.float32), (rows, columns)), shape=(len(documents), len(self.places))
        )
        counts.data = (1 + np.log(counts.data)) * self.rarity[counts.indices]
        length = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        return (sparse.diags(1 / np.maximum(length, np.finfo(np.float32).tiny)) @ counts).tocsr().astype(np.float32)


@dataclass(frozen=True)
class Content:
    """The items of a vocabulary as unit vectors, [item, dimension] each, zero where nothing is known.

    `described`: by their words, in `space`, where texts of users lie too. `vectors`: what tells most of an item; the
    delivered vectors where there are any, else `described`.
    """

    vectors: Floats
    described: Floats
    space: TextSpace

    @classmethod
    def of(
        cls, events: pa.Table, vocabulary: Vocabulary, *, items: pa.Table | None, delivered: pa.Table | None, seed: int
    ) -> Content:
        """`events`: clean_events; `items`: item_id, category, price, text of the items table, which fills gaps.

        `delivered`: item_id and vector (list of numbers), of any model. Raises ValueError where the vectors differ in
        length.
        """
        texts = _last_known(events.filter(pc.invert(pc.is_in(events["behavior"], OWN_TEXT))), items, "text", vocabulary)
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
        described = space.vectors(documents)
        return cls(described if delivered is None else _delivered(delivered, vocabulary), described, space)

    def of_texts(self, texts: Sequence[str | None], categories: Sequence[str | None]) -> Floats:
        """Unit vectors, in the space of `described`, of what users wrote or a signal names."""
        return self.space.vectors(
            [
                _words(text) + ([f"category {category}"] if category else [])
                for text, category in zip(texts, categories, strict=True)
            ]
        )


def unit(vectors: Floats) -> Floats:
    """Rows at length 1; a row of zeros stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-4), dtype=np.float32)


def affinity(profiles: Floats, vectors: Floats) -> Floats:
    """Cosine [user, item] of `profiles[user, dimension]` to the items' unit `vectors`; 0 where it is negative."""
    return np.asarray(np.maximum(unit(profiles) @ vectors.T, 0), dtype=np.float32)


def standing(window: Window) -> Floats:
    """What a cosine is multiplied by, [item]: sqrt(log(2 + users who took the item lately))."""
    return np.sqrt(np.log(2 + popularity(window, POPULAR_DAYS)), dtype=np.float32)


def read_item_vectors(path: Path) -> pa.Table:
    """The delivered vectors of items, columns item_id and vector; raises ValueError where the file has others."""
    table = pq.read_table(path)
    if not {"item_id", "vector"} <= set(table.column_names):
        raise ValueError(f"{path}: expected columns item_id and vector, found {', '.join(table.column_names)}")
    return table.select(["item_id", "vector"])


def _words(text: str | None) -> list[str]:
    from shift_assets.ingest.itemtext import terms

    return terms(text) if text else []


def _last_known(events: pa.Table, items: pa.Table | None, column: str, vocabulary: Vocabulary) -> list[Any]:
    """`column` of every item of the vocabulary: of its newest event that tells it, or of the items table, or None."""
    found: list[Any] = [None] * len(vocabulary.items)
    if items is not None and column in items.column_names:
        for code, value in zip(vocabulary.item_codes(items["item_id"]), items[column].to_pylist(), strict=True):
            if code and value is not None:
                found[code - 1] = value
    told = events.filter(pc.is_valid(events[column])).select(["item_id", "event_ts", "event_id", column])
    codes = vocabulary.item_codes(told["item_id"])
    instants = pc.cast(told["event_ts"], pa.int64()).to_numpy()
    newest = np.full(len(found) + 1, np.iinfo(np.int64).min)
    np.maximum.at(newest, codes, instants)
    # Equal instants are told apart by the digest: the order of the rows has no say.
    last = told.take(pa.array(np.flatnonzero((instants == newest[codes]) & (codes > 0)))).sort_by("event_id")
    for code, value in zip(vocabulary.item_codes(last["item_id"]), last[column].to_pylist(), strict=True):
        found[code - 1] = value
    return found


def _delivered(table: pa.Table, vocabulary: Vocabulary) -> Floats:
    lengths = pc.unique(pc.list_value_length(table["vector"])).to_pylist()
    if len(lengths) > 1:
        raise ValueError(f"item vectors of different lengths: {', '.join(map(str, sorted(lengths)))}")
    out = np.zeros((len(vocabulary.items), lengths[0] if lengths else 0), dtype=np.float32)
    values = np.array(table["vector"].to_pylist(), dtype=np.float32).reshape(table.num_rows, -1)
    codes = vocabulary.item_codes(table["item_id"])
    out[codes[codes > 0] - 1] = values[codes > 0]
    return unit(out)


def _fit(inputs: Inputs) -> Fitted:
    if inputs.content is None:
        raise ValueError("the content source needs the items' content")
    vectors, half_life = inputs.content.vectors, inputs.settings.half_life_days
    known = standing(inputs.window)

    def scorer(window: Window) -> Scorer:
        own = tastes(window, half_life)

        def scores(users: Integers) -> Floats:
            return affinity(np.asarray(own[users] @ vectors, dtype=np.float32), vectors) * known

        return scores

    return scorer


CONTENT = Source("content", _fit, needs=("content",))
