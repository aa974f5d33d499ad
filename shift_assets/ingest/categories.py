"""Interest categories for logs that deliver none, or thousands: learned once from the first days, then frozen.

A category that moved would look like an interest that moved, so the model is fitted on FIT_DAYS landed days and
kept; what appears later is assigned to the categories there are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

UNCATEGORISED = "uncategorised"
FIT_DAYS = 28
"""Landed days that the model is fitted on: four whole weeks, so that each weekday counts alike."""
MINIMUM_TERM_ITEMS = 3
"""Items that share a term before it can shape a category; a term of two items pairs them and says nothing else."""
MINIMUM_UNIT_USERS = 3
"""Users that met a unit before it shapes a group; rarer units go to the nearest group."""
COOCCURRENCE_DIMENSIONS = 64
KMEANS_STARTS = 10
MINIMUM_MATCH = 0.02
"""Length of a text's TF-IDF in the fitted dimensions, 0 to 1, below which the nearest category is chance: `camouflage
ear muffs` among hearts. One item in 23 of a gift shop lies below, with 4 % of its events."""
SECOND_TERM_SHARE = 0.3
"""A category's second term is named beside the first where it weighs at least so much of it."""

Kind = Literal["text", "cooccurrence", "delivered"]
Matrix = NDArray[np.float32]

_JSON, _TENSORS = "categories.json", "categories.safetensors"


class CategoryModelError(ValueError):
    """A stored model is not the one its version names."""


@dataclass(frozen=True, eq=False)
class CategoryModel:
    """Which category an item, a delivered leaf category or a text belongs to.

    `names[category]`; `member[unit]` is the category's index of each of `units` (item ids for `text`; delivered
    leaf categories, or item ids where none is delivered, for `cooccurrence`). Only for `text`: `vocabulary[term]`,
    `idf[term]`, `components[dimension, term]`, `centres[category, dimension]` of unit length.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    member: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    vocabulary: tuple[str, ...] = ()
    idf: Matrix = field(default_factory=lambda: np.zeros(0, np.float32))
    components: Matrix = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    centres: Matrix = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @cached_property
    def version(self) -> str:
        """16 hexadecimal characters, from the content."""
        digest = hashlib.sha256(self._described())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def known(self) -> pa.Table:
        """unit, category: one row per unit of the fit window."""
        names = pa.array(self.names, pa.string())
        return pa.table({"unit": pa.array(self.units, pa.string()), "category": names.take(pa.array(self.member))})

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The category of each text; `uncategorised` where its terms tell nothing, or the kind is not `text`."""
        if self.kind != "text" or not self.names:
            return [UNCATEGORISED] * len(texts)
        nearest = self._nearest(_tfidf(texts, self._index, self.idf))
        return [self.names[category] if category >= 0 else UNCATEGORISED for category in nearest.tolist()]

    def save(self, folder: Path) -> None:
        """Write the model into `folder`, which is made."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._tensors(), folder / _TENSORS)
        (folder / _JSON).write_bytes(json.dumps({"version": self.version}).encode() + b"\n" + self._described())

    @classmethod
    def load(cls, folder: Path) -> CategoryModel:
        """The model in `folder`; raises CategoryModelError where it is not the one that was saved."""
        from safetensors.numpy import load_file

        head, _, described = (folder / _JSON).read_bytes().partition(b"\n")
        told = json.loads(described)
        model = cls(
            told["kind"],
            names=tuple(told["names"]),
            units=tuple(told["units"]),
            vocabulary=tuple(told["vocabulary"]),
            **load_file(folder / _TENSORS),
        )
        if model.version != json.loads(head)["version"]:
            raise CategoryModelError(f"{folder}: the category model was changed after it was saved; restore the folder")
        return model

    @cached_property
    def _index(self) -> dict[str, int]:
        return {term: position for position, term in enumerate(self.vocabulary)}

    def _nearest(self, tfidf: sparse.csr_matrix) -> NDArray[np.int64]:
        """Index of the nearest centre of each row; -1 for a row that no dimension tells anything about."""
        points = np.asarray(tfidf @ self.components.T, dtype=np.float64)
        nearest = np.argmax(points @ self.centres.T.astype(np.float64), axis=1)
        return np.where(np.linalg.norm(points, axis=1) >= MINIMUM_MATCH, nearest, -1)

    def _tensors(self) -> dict[str, NDArray]:
        return {
            "member": self.member,
            "idf": self.idf,
            "components": np.ascontiguousarray(self.components),
            "centres": np.ascontiguousarray(self.centres),
        }

    def _described(self) -> bytes:
        told = {"kind": self.kind, "names": self.names, "units": self.units, "vocabulary": self.vocabulary}
        return json.dumps(told, ensure_ascii=False).encode()


def fit_categories(kind: Kind, rows: pa.Table, clusters: int, seed: int) -> CategoryModel:
    """The model of `kind` for the accepted rows of the fit window; the same rows and seed give the same model.

    `rows`: item_id, text, events for `text`; user_id, unit, events for `cooccurrence`; nothing for `delivered`.
    Each combination stands once, with its number of events.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums over a changing number of threads differ in their last bits
        if kind == "text":
            return _fit_text(rows, clusters, seed)
        if kind == "cooccurrence":
            return _fit_cooccurrence(rows, clusters, seed)
    return CategoryModel("delivered")


def _fit_text(rows: pa.Table, clusters: int, seed: int) -> CategoryModel:
    from sklearn.decomposition import TruncatedSVD

    from shift_assets.ingest.itemtext import terms

    texts = consensus_texts(rows)
    items = sorted(texts)
    documents = [texts[item] for item in items]
    spread = Counter(term for text in documents for term in set(terms(text)))
    vocabulary = tuple(sorted(term for term, count in spread.items() if count >= min(MINIMUM_TERM_ITEMS, len(items))))
    if not vocabulary:
        return CategoryModel("text")
    idf = np.array([1 + np.log((1 + len(items)) / (1 + spread[term])) for term in vocabulary], np.float32)
    tfidf = _tfidf(documents, {term: position for position, term in enumerate(vocabulary)}, idf)
    components = np.eye(len(vocabulary), dtype=np.float32)
    if min(tfidf.shape) > clusters:
        reduction = TruncatedSVD(clusters, algorithm="arpack", random_state=seed)
        components = reduction.fit(tfidf).components_.astype(np.float32)
    points = np.asarray(tfidf @ components.T, dtype=np.float64)
    told = np.linalg.norm(points, axis=1) >= MINIMUM_MATCH
    centres = _centres(_unit_length(points[told]), clusters, seed)
    model = CategoryModel("text", vocabulary=vocabulary, idf=idf, components=components, centres=centres)
    nearest = model._nearest(tfidf)
    placed = np.flatnonzero(nearest >= 0)
    return CategoryModel(
        "text",
        _names_from_terms(tfidf, nearest, len(centres), vocabulary, _read(documents)),
        tuple(items[position] for position in placed.tolist()),
        nearest[placed].astype(np.int32),
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


def _fit_cooccurrence(rows: pa.Table, clusters: int, seed: int) -> CategoryModel:
    """Groups of units that the same users meet: positive pointwise mutual information, factorised.

    Levy and Goldberg, "Neural word embedding as implicit matrix factorization", 2014, with users as contexts.
    """
    from sklearn.utils.extmath import randomized_svd

    users, user = np.unique(rows["user_id"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    units, unit = np.unique(rows["unit"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    if not len(units):
        return CategoryModel("cooccurrence")
    # One entry per user and unit: a user's hundredth view of a thing says no more about what belongs together.
    met = sparse.csr_matrix((np.ones(len(user)), (unit, user)), shape=(len(units), len(users)))
    users_of_unit = np.asarray(met.sum(axis=1)).ravel()
    units_of_user = np.asarray(met.sum(axis=0)).ravel()
    pairs = met.tocoo()
    information = np.log(met.sum() / (users_of_unit[pairs.row] * units_of_user[pairs.col]))
    ppmi = sparse.csr_matrix((np.maximum(information, 0), (pairs.row, pairs.col)), shape=met.shape)
    dimensions = min(COOCCURRENCE_DIMENSIONS, *ppmi.shape)
    left, strengths, _ = randomized_svd(ppmi, dimensions, n_iter=7, random_state=seed)
    points = _unit_length(left * np.sqrt(strengths))
    common = users_of_unit >= min(MINIMUM_UNIT_USERS, users_of_unit.max())
    events = np.bincount(unit, weights=rows["events"].to_numpy(), minlength=len(units))
    centres = _centres(points[common], clusters, seed, events[common])
    nearest = np.argmax(points @ centres.T, axis=1)
    size = np.bincount(nearest, weights=events, minlength=len(centres))
    order = [int(group) for group in np.argsort(-size, kind="stable") if size[group]]
    rank = np.zeros(len(centres), np.int32)
    rank[order] = np.arange(len(order))
    largest = (units[np.argmax(np.where(nearest == group, events, -1))] for group in order)
    names = tuple(f"group-{number:02d}-{_slug(str(unit))}" for number, unit in enumerate(largest, 1))
    return CategoryModel("cooccurrence", names, tuple(units.tolist()), rank[nearest])


def _centres(
    points: NDArray[np.float64], clusters: int, seed: int, events: NDArray[np.float64] | None = None
) -> Matrix:
    """Centres[category, dimension] of unit length: k-means on the sphere, the best of KMEANS_STARTS starts.

    Weighted by events, groups become equally large in what users do: on UserBehavior the largest of 40 holds 9 % of
    the events instead of 39 %. Text categories gain nothing from it.
    """
    from sklearn.cluster import KMeans

    distinct = len(np.unique(points.round(6), axis=0))
    model = KMeans(min(clusters, distinct), n_init=KMEANS_STARTS, random_state=seed).fit(points, sample_weight=events)
    return _unit_length(model.cluster_centers_).astype(np.float32)


def _tfidf(texts: Sequence[str], index: dict[str, int], idf: Matrix) -> sparse.csr_matrix:
    """TF-IDF[text, term] with logarithmic term counts, rows of unit length; a text without known terms is empty."""
    from shift_assets.ingest.itemtext import terms

    starts: list[int] = [0]
    columns: list[int] = []
    values: list[float] = []
    for text in texts:
        counts = Counter(index[term] for term in terms(text) if term in index)
        positions = sorted(counts)
        weights = np.array([(1 + np.log(counts[position])) * idf[position] for position in positions], np.float64)
        columns += positions
        values += (weights / np.linalg.norm(weights)).tolist() if positions else []
        starts.append(len(columns))
    return sparse.csr_matrix((values, columns, starts), shape=(len(texts), len(index)), dtype=np.float64)


def _unit_length(points: NDArray) -> NDArray[np.float64]:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(lengths > 0, lengths, 1)


def _names_from_terms(
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
        told = [vocabulary[term] for term in heaviest]
        wanted = 2 if len(heaviest) > 1 and weights[heaviest[1]] >= SECOND_TERM_SHARE * weights[heaviest[0]] else 1
        choices = [_in_reading_order(told[:length], lexicon) for length in range(wanted, len(told) + 1)]
        choices.append(f"{_in_reading_order(told[:wanted], lexicon)}-{category + 1:02d}")
        names.append(next(name for name in choices if name not in names))
    return tuple(names)


class _Lexicon(NamedTuple):
    """How a term is mostly written, and where in a text it stands on average, 0 at the start, 1 at the end."""

    spelling: dict[str, str]
    place: dict[str, float]


def _read(documents: Sequence[str]) -> _Lexicon:
    from shift_assets.ingest.itemtext import term, words

    counts: Counter[str] = Counter()
    places: dict[str, list[float]] = {}
    for text in documents:
        found = words(text)
        counts.update(found)
        for position, word in enumerate(found, 1):
            places.setdefault(term(word), []).append(position / len(found))
    spelling: dict[str, str] = {}
    for word, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        spelling.setdefault(term(word), word)
    return _Lexicon(spelling, {term: sum(found) / len(found) for term, found in places.items()})


def _in_reading_order(terms: Sequence[str], lexicon: _Lexicon) -> str:
    """`christmas-tree`, not `tree-christmas`, whichever weighs more."""
    return "-".join(lexicon.spelling[term] for term in sorted(terms, key=lambda term: lexicon.place[term]))


def _slug(text: str) -> str:
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:40] or "unnamed"
