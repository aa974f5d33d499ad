"""Forecasts that learn nothing: the floor under all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shift_assets.arrays import Float64Array
from shift_assets.forecast.base import Parameters
from shift_assets.forecast.features import Examples


@dataclass(frozen=True)
class Baseline:
    """The forecast is one of the features."""

    feature: str
    grid: Sequence[Parameters] = ({},)

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> Baseline:  # noqa: ARG002 - nothing to learn
        return self

    def predict(self, examples: Examples) -> Float64Array:
        return examples.column(self.feature)
