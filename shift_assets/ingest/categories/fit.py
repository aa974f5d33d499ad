"""Fit the category model of one kind."""

from __future__ import annotations

import pyarrow as pa

from shift_assets.ingest.categories.category_model import CategoryKind, CategoryModel
from shift_assets.ingest.categories.cooccurrence_categories import fit_cooccurrence_categories
from shift_assets.ingest.categories.text_categories import fit_text_categories

FIT_DAYS = 28
"""Landed days that the model is fitted on: four whole weeks, so that all weekdays have equal weight."""


def fit_categories(
    kind: CategoryKind, rows: pa.Table, clusters: int, seed: int, unit_texts: pa.Table | None = None
) -> CategoryModel:
    """Fit a category model on the accepted rows of the fit window; the same rows and seed give the same model.

    Args:
        kind: What to make the categories from.
        rows: item_id, text, events for `text`; user_id, unit, events for `cooccurrence`; ignored for `delivered`.
            Each combination once, with its number of events.
        clusters: Number of categories.
        seed: Seed of the SVD and of k-means.
        unit_texts: unit, text, events: what names the groups of `cooccurrence`, where there are texts.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums over a changing number of threads differ in their last bits
        if kind == "text":
            return fit_text_categories(rows, clusters, seed)
        if kind == "cooccurrence":
            return fit_cooccurrence_categories(rows, clusters, seed, unit_texts)
    return CategoryModel("delivered")
