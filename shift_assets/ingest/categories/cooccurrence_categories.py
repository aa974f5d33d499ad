"""Fit interest categories on co-occurrence: factorised positive PMI of units and users, spherical k-means."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int32
from scipy import sparse

from shift_assets.arrays import BoolArray, Float64Array, Int32Array
from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.item_terms import terms
from shift_assets.ingest.categories.spherical_kmeans import spherical_kmeans, unit_rows
from shift_assets.ingest.categories.text_categories import build_lexicon, consensus_texts, name_by_terms
from shift_assets.ingest.categories.text_vectorizer import TextVectorizer

MINIMUM_UNIT_USERS = 3
"""Users that a unit needs before it can shape a group; rarer units are assigned to the nearest group."""

COOCCURRENCE_DIMENSIONS = 64


NAMED_UNITS = 3
"""Units that name a group without texts."""

KNOWN_UNITS = 12
"""Units of a group, those with the most events, among which its name is chosen: one that nobody meets says little."""

TEXT_SHARE = 0.5
"""Share of a group's units that need a text before texts name it."""


def fit_cooccurrence_categories(
    rows: pa.Table, clusters: int, seed: int, unit_texts: pa.Table | None = None
) -> CategoryModel:
    """Group the units that the same users interact with.

    Source: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NIPS 2014, with users as
    contexts.

    Args:
        rows: user_id, unit, events: each combination once.
        clusters: Number of groups; fewer if fewer units differ.
        seed: Seed of the SVD and of k-means.
        unit_texts: unit, text, events: texts of the units' items, which name the groups; None where there are none.
    """
    from sklearn.utils.extmath import randomized_svd

    users, user = np.unique(rows["user_id"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    units, unit = np.unique(rows["unit"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    if not len(units):
        return CategoryModel("cooccurrence")
    # One entry per user and unit: a user's hundredth view of an item says no more about what belongs together.
    incidence = sparse.csr_matrix((np.ones(len(user)), (unit, user)), shape=(len(units), len(users)))
    users_of_unit = np.asarray(incidence.sum(axis=1)).ravel()
    units_of_user = np.asarray(incidence.sum(axis=0)).ravel()
    pairs = incidence.tocoo()
    pmi = np.log(incidence.sum() / (users_of_unit[pairs.row] * units_of_user[pairs.col]))
    ppmi = sparse.csr_matrix((np.maximum(pmi, 0), (pairs.row, pairs.col)), shape=incidence.shape)
    dimensions = min(COOCCURRENCE_DIMENSIONS, *ppmi.shape)
    left, singular_values, _ = randomized_svd(ppmi, dimensions, n_iter=7, random_state=seed)
    points = unit_rows(left * np.sqrt(singular_values))
    common = users_of_unit >= min(MINIMUM_UNIT_USERS, users_of_unit.max())
    events = np.bincount(unit, weights=rows["events"].to_numpy(), minlength=len(units)).astype(np.float64)
    centres = spherical_kmeans(points[common], clusters, seed, events[common])
    closeness = points @ centres.T
    nearest = np.argmax(closeness, axis=1)
    size = np.bincount(nearest, weights=events, minlength=len(centres))
    order = [int(group) for group in np.argsort(-size, kind="stable") if size[group]]
    rank = np.zeros(len(centres), np.int32)
    rank[order] = np.arange(len(order))
    groups = rank[nearest]
    typical = [_typical_units(units.tolist(), events, closeness[:, group], groups == rank[group]) for group in order]
    by_units = [f"group-{number:02d}-{'-'.join(its_units)}" for number, its_units in enumerate(typical, 1)]
    by_texts = _names_by_texts(units.tolist(), groups, len(order), unit_texts)
    names = tuple(by_texts.get(group, name) for group, name in enumerate(by_units))
    return CategoryModel("cooccurrence", names, tuple(units.tolist()), groups)


def _typical_units(
    units: Sequence[str],
    events: Float64[Float64Array, " unit"],
    closeness: Float64[Float64Array, " unit"],
    own: Bool[BoolArray, " unit"],
) -> list[str]:
    """Return the units that are closest to the centre, of the group's `own` units with the most events."""
    known = np.flatnonzero(own)[np.argsort(-events[own], kind="stable")[:KNOWN_UNITS]]
    closest = known[np.argsort(-closeness[known].round(6), kind="stable")[:NAMED_UNITS]]
    return [_slug(units[unit]) for unit in closest.tolist()]


def _names_by_texts(
    units: Sequence[str], groups: Int32[Int32Array, " unit"], n_groups: int, unit_texts: pa.Table | None
) -> dict[int, str]:
    """Return a name by the heaviest terms of its units' texts for each group most of whose units have one."""
    texts = consensus_texts(unit_texts.rename_columns({"unit": "item_id"})) if unit_texts is not None else {}
    described = [(group, texts[unit]) for unit, group in zip(units, groups.tolist(), strict=True) if unit in texts]
    group_of_text = np.array([group for group, _ in described], np.int64)
    enough = np.bincount(group_of_text, minlength=n_groups) >= TEXT_SHARE * np.bincount(groups, minlength=n_groups)
    vectorizer, tfidf = TextVectorizer.fit_transform([terms(text) for _, text in described], 1)
    if not vectorizer.vocabulary:
        return {}
    lexicon = build_lexicon(text for _, text in described)
    names = name_by_terms(tfidf, group_of_text, n_groups, vectorizer.vocabulary, lexicon)
    return {group: name for group, name in enumerate(names) if enough[group]}


def _slug(text: str) -> str:
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:24].strip("-") or "unnamed"
