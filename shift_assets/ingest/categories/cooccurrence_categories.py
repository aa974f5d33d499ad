"""Fit interest categories on co-occurrence: factorised positive PMI of units and users, spherical k-means."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from scipy import sparse

from shift_assets.ingest.categories.category_model import CategoryModel
from shift_assets.ingest.categories.spherical_kmeans import spherical_kmeans, unit_rows

MINIMUM_UNIT_USERS = 3
"""Users that a unit needs before it can shape a group; rarer units are assigned to the nearest group."""

COOCCURRENCE_DIMENSIONS = 64


def fit_cooccurrence_categories(rows: pa.Table, clusters: int, seed: int) -> CategoryModel:
    """Group the units that the same users interact with.

    Source: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NIPS 2014, with users as
    contexts.

    Args:
        rows: user_id, unit, events: each combination once.
        clusters: Number of groups; fewer if fewer units differ.
        seed: Seed of the SVD and of k-means.
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
    events = np.bincount(unit, weights=rows["events"].to_numpy(), minlength=len(units))
    centres = spherical_kmeans(points[common], clusters, seed, events[common])
    nearest = np.argmax(points @ centres.T, axis=1)
    size = np.bincount(nearest, weights=events, minlength=len(centres))
    order = [int(group) for group in np.argsort(-size, kind="stable") if size[group]]
    rank = np.zeros(len(centres), np.int32)
    rank[order] = np.arange(len(order))
    largest = (units[np.argmax(np.where(nearest == group, events, -1))] for group in order)
    names = tuple(f"group-{number:02d}-{_slug(str(unit))}" for number, unit in enumerate(largest, 1))
    return CategoryModel("cooccurrence", names, tuple(units.tolist()), rank[nearest])


def _slug(text: str) -> str:
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:40] or "unnamed"
