"""Forecasts without fitted parameters, as a lower bound for all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shift_assets.arrays import Float64Array
from shift_assets.forecast.base import Parameters
from shift_assets.forecast.features import Examples


@dataclass(frozen=True)
class Baseline:
    """Forecasts the value of one of the features."""

    feature: str
    grid: Sequence[Parameters] = ({},)

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> Baseline:  # noqa: ARG002 - nothing to fit
        return self

    def predict(self, examples: Examples) -> Float64Array:
        return examples.column(self.feature)
