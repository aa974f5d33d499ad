"""Ridge regression on the features that an F test selects; lags and differences are collinear without the penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.forecast.base import Parameters
from shift_assets.forecast.features import Examples

SIGNIFICANCE = 0.001
"""Level of the F test. A calendar feature that does not pass would extrapolate the trend of a few weeks."""


@dataclass(frozen=True)
class LinearPredictor:
    """A fitted linear model."""

    weights: Float64Array  # [feature]
    intercept: float

    def predict(self, examples: Examples) -> Float64Array:
        return np.asarray(examples.features @ self.weights + self.intercept)


@dataclass(frozen=True)
class Linear:
    """Ridge regression on standardised features (Hoerl & Kennard 1970); `penalty` is per row."""

    grid: Sequence[Parameters] = ({"penalty": 1e-3}, {"penalty": 1e-2}, {"penalty": 1e-1})

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> LinearPredictor:  # noqa: ARG002 - exact
        from sklearn.feature_selection import f_regression
        from sklearn.linear_model import Ridge

        varies = np.flatnonzero(np.ptp(examples.features, axis=0) > 0)
        _, p_value = f_regression(examples.features[:, varies], examples.target)
        selected = varies[p_value < SIGNIFICANCE]
        features, average = examples.features[:, selected], float(examples.target.mean())
        mean, scale = features.mean(axis=0), features.std(axis=0)
        standard = (features - mean) / scale
        weights = np.zeros(len(examples.names))
        if len(selected):
            ridge = Ridge(alpha=parameters["penalty"] * len(examples), fit_intercept=False, solver="cholesky")
            weights[selected] = ridge.fit(standard, examples.target - average).coef_ / scale
        return LinearPredictor(weights, average - float(mean @ weights[selected]))
