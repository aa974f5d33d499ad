"""Interest categories from item texts: TF-IDF, truncated SVD, spherical k-means, names from the heaviest terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from shift_assets.ingest.categories.category_model import MINIMUM_MATCH, CategoryModel
from shift_assets.ingest.categories.spherical_kmeans import spherical_kmeans, unit_rows
from shift_assets.ingest.categories.tfidf import tfidf_matrix

MINIMUM_TERM_ITEMS = 3
"""Items that share a term before it can shape a category; a term of two items pairs them and says nothing else."""


SECOND_TERM_SHARE = 0.3
"""A category's second term is named beside the first where it weighs at least so much of it."""


def fit_text_categories(rows: pa.Table, clusters: int, seed: int) -> CategoryModel:
    from sklearn.decomposition import TruncatedSVD

    from shift_assets.ingest.categories.item_terms import terms

    texts = consensus_texts(rows)
    items = sorted(texts)
    documents = [texts[item] for item in items]
    document_frequency = Counter(term for text in documents for term in set(terms(text)))
    vocabulary = tuple(
        sorted(term for term, count in document_frequency.items() if count >= min(MINIMUM_TERM_ITEMS, len(items)))
    )
    if not vocabulary:
        return CategoryModel("text")
    idf = np.array([1 + np.log((1 + len(items)) / (1 + document_frequency[term])) for term in vocabulary], np.float32)
    tfidf = tfidf_matrix(documents, {term: position for position, term in enumerate(vocabulary)}, idf)
    components = np.eye(len(vocabulary), dtype=np.float32)
    if min(tfidf.shape) > clusters:
        reduction = TruncatedSVD(clusters, algorithm="arpack", random_state=seed)
        components = reduction.fit(tfidf).components_.astype(np.float32)
    points = np.asarray(tfidf @ components.T, dtype=np.float64)
    metadata = np.linalg.norm(points, axis=1) >= MINIMUM_MATCH
    centres = spherical_kmeans(unit_rows(points[metadata]), clusters, seed)
    model = CategoryModel("text", vocabulary=vocabulary, idf=idf, components=components, centres=centres)
    nearest = model.nearest_centres(tfidf)
    assigned = np.flatnonzero(nearest >= 0)
    return CategoryModel(
        "text",
        _name_categories(tfidf, nearest, len(centres), vocabulary, _build_lexicon(documents)),
        tuple(items[position] for position in assigned.tolist()),
        nearest[assigned].astype(np.int32),
        vocabulary,
        idf,
        components,
        centres,
    )


def consensus_texts(rows: pa.Table) -> dict[str, str]:
    """The text of each item that most of its events bear; of equals the alphabetically first."""
    best: dict[str, tuple[int, str]] = {}
    for item, text, events in zip(*(rows[name].to_pylist() for name in ("item_id", "text", "events")), strict=True):
        if text is not None:
            best[item] = min(best.get(item, (0, "")), (-events, text))
    return {item: text for item, (_, text) in best.items()}


def _name_categories(
    tfidf: sparse.csr_matrix,
    nearest: NDArray[np.int64],
    categories: int,
    vocabulary: Sequence[str],
    lexicon: _Lexicon,
) -> tuple[str, ...]:
    """A readable, unique name per category: its heaviest one or two terms, more where others bear them already."""
    names: list[str] = []
    for category in range(categories):
        weights = np.asarray(tfidf[nearest == category].sum(axis=0)).ravel()
        heaviest = [int(t) for t in np.argsort(-weights, kind="stable")[:8] if weights[t] > 0]
        metadata = [vocabulary[term] for term in heaviest]
        minimum_terms = (
            2 if len(heaviest) > 1 and weights[heaviest[1]] >= SECOND_TERM_SHARE * weights[heaviest[0]] else 1
        )
        choices = [_in_reading_order(metadata[:length], lexicon) for length in range(minimum_terms, len(metadata) + 1)]
        choices.append(f"{_in_reading_order(metadata[:minimum_terms], lexicon)}-{category + 1:02d}")
        names.append(next(name for name in choices if name not in names))
    return tuple(names)


class _Lexicon(NamedTuple):
    """How a term is mostly written, and where in a text it stands on average, 0 at the start, 1 at the end."""

    spelling: dict[str, str]
    mean_position: dict[str, float]


def _build_lexicon(documents: Sequence[str]) -> _Lexicon:
    from shift_assets.ingest.categories.item_terms import term, words

    counts: Counter[str] = Counter()
    positions_of_term: dict[str, list[float]] = {}
    for text in documents:
        found = words(text)
        counts.update(found)
        for position, word in enumerate(found, 1):
            positions_of_term.setdefault(term(word), []).append(position / len(found))
    spelling: dict[str, str] = {}
    for word, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        spelling.setdefault(term(word), word)
    return _Lexicon(spelling, {term: sum(found) / len(found) for term, found in positions_of_term.items()})


def _in_reading_order(terms: Sequence[str], lexicon: _Lexicon) -> str:
    """`christmas-tree`, not `tree-christmas`, whichever weighs more."""
    return "-".join(lexicon.spelling[term] for term in sorted(terms, key=lambda term: lexicon.mean_position[term]))
