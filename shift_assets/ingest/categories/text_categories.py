"""Fit interest categories on item texts: TF-IDF, truncated SVD, spherical k-means, names from the heaviest terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from shift_assets.arrays import Int64Array
from shift_assets.ingest.categories.category_model import MINIMUM_MATCH, CategoryModel
from shift_assets.ingest.categories.item_terms import term, terms, words
from shift_assets.ingest.categories.spherical_kmeans import spherical_kmeans, unit_rows
from shift_assets.ingest.categories.text_vectorizer import TextVectorizer, svd_components

MINIMUM_TERM_ITEMS = 3
"""Items that must share a term before it can shape a category: a term of two items only pairs them."""

SECOND_TERM_SHARE = 0.3
"""A category is named by two terms if the second weighs at least this share of the first."""


def fit_text_categories(rows: pa.Table, clusters: int, seed: int) -> CategoryModel:
    """Fit categories on the texts of items.

    Args:
        rows: item_id, text, events: each combination once.
        clusters: Number of categories; fewer if fewer texts differ.
        seed: Seed of the SVD and of k-means.
    """
    texts = consensus_texts(rows)
    items = sorted(texts)
    documents = [terms(texts[item]) for item in items]
    fitted, _ = TextVectorizer.fit_transform(documents, min(MINIMUM_TERM_ITEMS, len(items)))
    if not fitted.vocabulary:
        return CategoryModel("text")
    vocabulary, idf = fitted.vocabulary, fitted.idf.astype(np.float32)
    tfidf = TextVectorizer(vocabulary, idf).tfidf(documents)  # as a stored model weighs them
    components = np.eye(len(vocabulary), dtype=np.float32)
    if min(tfidf.shape) > clusters:
        components = svd_components(tfidf, clusters, seed)
    points = np.asarray(tfidf @ components.T, dtype=np.float64)
    long_enough = np.linalg.norm(points, axis=1) >= MINIMUM_MATCH
    centres = spherical_kmeans(unit_rows(points[long_enough]), clusters, seed)
    model = CategoryModel("text", vocabulary=vocabulary, idf=idf, components=components, centres=centres)
    nearest = model.nearest_centres(tfidf)
    assigned = np.flatnonzero(nearest >= 0)
    return CategoryModel(
        "text",
        name_by_terms(tfidf, nearest, len(centres), vocabulary, build_lexicon(texts.values())),
        tuple(items[position] for position in assigned.tolist()),
        nearest[assigned].astype(np.int32),
        vocabulary,
        idf,
        components,
        centres,
    )


def consensus_texts(rows: pa.Table) -> dict[str, str]:
    """Return the text of each item that most of its events have; of equally frequent ones the alphabetically first."""
    best: dict[str, tuple[int, str]] = {}
    for item, text, events in zip(*(rows[name].to_pylist() for name in ("item_id", "text", "events")), strict=True):
        if text is not None:
            best[item] = min(best.get(item, (0, "")), (-events, text))
    return {item: text for item, (_, text) in best.items()}


def name_by_terms(
    tfidf: sparse.csr_matrix,
    nearest: Int64Array,
    categories: int,
    vocabulary: Sequence[str],
    lexicon: Lexicon,
) -> tuple[str, ...]:
    """Return a readable, unique name per category: its heaviest one or two terms, more if that name is taken."""
    names: list[str] = []
    for category in range(categories):
        weights = np.asarray(tfidf[nearest == category].sum(axis=0)).ravel()
        heaviest = [int(t) for t in np.argsort(-weights, kind="stable")[:8] if weights[t] > 0]
        heaviest_terms = [vocabulary[term] for term in heaviest]
        minimum_terms = (
            2 if len(heaviest) > 1 and weights[heaviest[1]] >= SECOND_TERM_SHARE * weights[heaviest[0]] else 1
        )
        choices = [
            _in_reading_order(heaviest_terms[:length], lexicon)
            for length in range(minimum_terms, len(heaviest_terms) + 1)
        ]
        choices.append(f"{_in_reading_order(heaviest_terms[:minimum_terms], lexicon)}-{category + 1:02d}")
        names.append(next(name for name in choices if name not in names))
    return tuple(names)


class Lexicon(NamedTuple):
    """The most frequent spelling of each term, and its mean position in a text: 0 at the start, 1 at the end."""

    spelling: dict[str, str]
    mean_position: dict[str, float]


def build_lexicon(texts: Iterable[str]) -> Lexicon:
    counts: Counter[str] = Counter()
    positions_of_term: dict[str, list[float]] = {}
    for text in texts:
        words_of_text = words(text)
        counts.update(words_of_text)
        for position, word in enumerate(words_of_text, 1):
            positions_of_term.setdefault(term(word), []).append(position / len(words_of_text))
    spelling: dict[str, str] = {}
    for word, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        spelling.setdefault(term(word), word)
    return Lexicon(spelling, {term: sum(positions) / len(positions) for term, positions in positions_of_term.items()})


def _in_reading_order(terms: Sequence[str], lexicon: Lexicon) -> str:
    """Join terms in the order of texts: `christmas-tree`, not `tree-christmas`, whichever weighs more."""
    return "-".join(lexicon.spelling[term] for term in sorted(terms, key=lambda term: lexicon.mean_position[term]))
