"""The interface of forecasters: each category's share of a user's score in the next week, given that the user comes.

One file per forecaster; `registry` names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from shift_assets.arrays import Float64Array
from shift_assets.forecast.features import Examples

Parameters = Mapping[str, float | int]


class Predictor(Protocol):
    """A fitted forecaster."""

    def predict(self, examples: Examples) -> Float64Array:
        """Return the forecast share, [row], not yet bounded to 0..1."""
        ...


class Forecaster(Protocol):
    """An algorithm that forecasts shares."""

    @property
    def grid(self) -> Sequence[Parameters]:
        """Parameters to search; the first are used where there is no search."""
        ...

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> Predictor:
        """Fit on rows whose targets are all known; deterministic given rows, parameters and seed."""
        ...
