"""Which features are relevant to the forecast: by ANOVA, by Lasso, and by the forest's importances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.forecast.features import Examples
from shift_assets.forecast.forest import Forest

LASSO_FOLDS = 3


@dataclass(frozen=True)
class Feature:
    """Relevance of one feature by the three methods."""

    name: str
    anova_f: float  # F statistic of the feature alone; 0 where it is constant
    lasso_weight: float  # weight on the standardised feature; 0 where it is not selected
    importance: float  # share of the forest's error reduction


def select_features(examples: Examples, seed: int) -> list[Feature]:
    """Return every feature with its F statistic, Lasso weight and importance.

    The Lasso penalty is chosen by cross-validation over consecutive weeks (Tibshirani, "Regression Shrinkage and
    Selection via the Lasso", JRSS B 58 (1996)).

    Args:
        examples: rows whose targets are all known.
        seed: seed of the forest.
    """
    from sklearn.feature_selection import f_regression
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import TimeSeriesSplit

    rows = examples.where(np.argsort(examples.week, kind="stable"))
    mean, scale = rows.features.mean(axis=0), rows.features.std(axis=0)
    varies = np.ptp(rows.features, axis=0) > 0
    standard = np.divide(rows.features - mean, scale, out=np.zeros_like(rows.features), where=varies)
    f_statistic = np.zeros(len(rows.names))
    f_statistic[varies] = f_regression(standard[:, varies], rows.target)[0]
    lasso = LassoCV(alphas=20, eps=3e-2, cv=TimeSeriesSplit(LASSO_FOLDS)).fit(standard, rows.target)
    forest = Forest()
    importances = forest.fit(rows, forest.grid[0], seed).importances
    return [
        Feature(name, float(f_statistic[column]), float(lasso.coef_[column]), float(importances[column]))
        for column, name in enumerate(rows.names)
    ]
