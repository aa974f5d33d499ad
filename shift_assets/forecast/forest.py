"""Random forest (Breiman, "Random Forests", Machine Learning 45 (2001))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.forecast.base import Parameters
from shift_assets.forecast.features import Examples

TREES = 50


@dataclass(frozen=True)
class ForestPredictor:
    """A fitted random forest."""

    forest: Any

    def predict(self, examples: Examples) -> Float64Array:
        return np.asarray(self.forest.predict(examples.features), dtype=np.float64)

    @property
    def importances(self) -> Float64Array:
        """Share of each feature in the decrease of the squared error, summing to 1, [feature]."""
        return np.asarray(self.forest.feature_importances_, dtype=np.float64)


@dataclass(frozen=True)
class Forest:
    """Random forest regression; `rows_in_leaf` is the smallest leaf."""

    grid: Sequence[Parameters] = ({"rows_in_leaf": 20}, {"rows_in_leaf": 60})

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> ForestPredictor:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            n_estimators=TREES,
            min_samples_leaf=int(parameters["rows_in_leaf"]),
            max_features=1 / 3,
            max_samples=0.5,
            random_state=seed % 2**32,
        )
        return ForestPredictor(forest.fit(examples.features, examples.target))
